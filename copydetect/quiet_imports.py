"""Imports of heavy libraries, without the warnings that they log about each other."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Log nothing below an error while the block imports.

    Meanwhile no garbage is collected: there is next to none, and looking through all that imports
    make, again and again, takes a seventh of their time.
    """
    before, collects = logging.root.manager.disable, gc.isenabled()
    logging.disable(logging.WARNING)
    gc.disable()
    try:
        yield
    finally:
        logging.disable(before)
        if collects:
            gc.enable()
