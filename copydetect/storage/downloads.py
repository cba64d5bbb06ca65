"""A cache of downloads on this machine; the least recently used file is deleted first."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from copydetect.errors import InputError, OptionError

LIMIT_VARIABLE = "COPYDETECT_CACHE_GB"
DEFAULT_LIMIT_GB = 50.0

_IN_USE_SECONDS = 60.0
_BLOCK = 1 << 20


def cache_limit_bytes() -> float:
    """The size limit of the cache, from the environment; OptionError where that is not a size."""
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_LIMIT_GB))
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise OptionError(f"{LIMIT_VARIABLE} is {text!r}; it must be a number of gigabytes, from 0")
    return limit * 1e9


def cached_download(uri: str, size: int, key: str, fetch: Callable[[], BinaryIO]) -> str:
    """The path of a copy of a file of `size` bytes; `fetch` opens the original.

    key: names its content, so that a file that was replaced is fetched again. All workers of a
    machine share the folder. InputError where fewer or more bytes came than there should be.
    """
    cached = Path(tempfile.gettempdir()) / "copydetect-cache" / key
    if not _is_whole(cached, size):
        cached.parent.mkdir(parents=True, exist_ok=True)
        _make_room(cached.parent, cache_limit_bytes() - size)
        partial = cached.with_name(f"{key}.{uuid.uuid4().hex}")
        try:
            with fetch() as source, partial.open("wb") as target:
                while block := source.read(_BLOCK):
                    target.write(block)
            if not _is_whole(partial, size):
                raise InputError(
                    f"cannot read {uri}: {partial.stat().st_size} bytes came instead of {size}"
                )
            os.replace(partial, cached)
        finally:
            partial.unlink(missing_ok=True)
    os.utime(cached)
    return str(cached)


def _is_whole(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def _make_room(folder: Path, wanted_bytes: float) -> None:
    """Delete what was used least recently until the rest fits; what has just been used stays.

    A process that has mapped a file can go on reading it.
    """
    now = time.time()
    files = []
    for path in folder.iterdir():
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # another worker makes room too
        files.append((status.st_mtime, status.st_size, path))
    held = sum(size for _, size, _ in files)
    for used, size, path in sorted(files):
        if held <= wanted_bytes or now - used < _IN_USE_SECONDS:
            return
        path.unlink(missing_ok=True)
        held -= size
