"""Imports of heavy libraries, without their warnings about each other and about Python."""

from __future__ import annotations

import contextlib
import gc
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Warn of nothing while the block imports.

    Meanwhile no garbage is collected: there is next to none, and looking through all that imports
    make, again and again, takes a seventh of their time.
    """
    before, collects = logging.root.manager.disable, gc.isenabled()
    logging.disable(logging.WARNING)
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        if collects:
            gc.enable()
