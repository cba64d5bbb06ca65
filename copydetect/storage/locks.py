"""Locks of local files and folders, which the system frees when their process ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(path: str, busy: Exception) -> Iterator[None]:
    """Hold the lock of a folder, or of a file that is made, where the system has such locks; `busy`
    is raised where another process holds it."""
    if fcntl is None:
        yield
        return
    # Of files, network file systems lock only what is open for writing.
    opened = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise busy from error
        except OSError:
            pass  # some network file systems have no locks
        yield
    finally:
        os.close(opened)
