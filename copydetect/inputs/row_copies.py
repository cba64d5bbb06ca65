"""Copies of the images inside Parquet files, kept for the length of a job.

A job reads images in the order of their hashes, but a row of Parquet can be had only by decoding
its row group from the start. So the rows are copied as they pass when they are listed, and read by
range ever after: each Parquet file is read once, front to back.

Rows of one file follow one another in blocks of about 64 MB. Its index, which is written
last, is an int64 array (n, 5): row group, row in it, number of the block, offset, bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator

import numpy as np

from copydetect.storage.files import Storage
from copydetect.types import Failure, ImageRef, Ints

_BLOCK_BYTES = 64 << 20

Place = tuple[str, int, int]
"""Where a copy is: URI of the block, offset and size in bytes."""


def copy_rows(
    storage: Storage, uri: str, contents: Iterable[tuple[ImageRef, bytes | Failure]]
) -> Iterator[tuple[ImageRef, bytes | Failure]]:
    """Pass the rows of one Parquet file on, with a copy of each below `storage.row_copies`."""
    index: list[tuple[int, ...]] = []
    block, number = bytearray(), 0
    for ref, content in contents:
        if isinstance(content, bytes):
            group, row = _row_of(ref)
            index.append((group, row, number, len(block), len(content)))
            block += content
            if len(block) >= _BLOCK_BYTES:
                storage.write(_block_uri(storage, uri, number), bytes(block))
                block, number = bytearray(), number + 1
        yield ref, content
    storage.write(_block_uri(storage, uri, number), bytes(block))
    saved = io.BytesIO()
    np.save(saved, np.array(sorted(index), np.int64).reshape(-1, 5))
    storage.write(_index_uri(storage, uri), saved.getvalue())


def places_of(storage: Storage, uri: str, refs: Iterable[ImageRef]) -> dict[ImageRef, Place]:
    """Where the copies of rows of one Parquet file are; those without one are left out."""
    if not storage.row_copies or not storage.exists(_index_uri(storage, uri)):
        return {}
    index: Ints = np.load(io.BytesIO(storage.read(_index_uri(storage, uri))))
    # Rows of a group are fewer than 2³²: one number orders them.
    keys = index[:, 0] << 32 | index[:, 1]
    places = {}
    for ref in refs:
        group, row = _row_of(ref)
        at = int(np.searchsorted(keys, group << 32 | row))
        if at < len(keys) and keys[at] == group << 32 | row:
            block, offset, size = index[at, 2:].tolist()
            places[ref] = (_block_uri(storage, uri, block), offset, size)
    return places


def _row_of(ref: ImageRef) -> tuple[int, int]:
    group, row, _ = ref.member.split(":", 2)
    return int(group), int(row)


def _block_uri(storage: Storage, uri: str, number: int) -> str:
    return f"{_stem(storage, uri)}-{number:05d}.rows"


def _index_uri(storage: Storage, uri: str) -> str:
    return f"{_stem(storage, uri)}.npy"


def _stem(storage: Storage, uri: str) -> str:
    return f"{storage.row_copies}/{hashlib.sha256(uri.encode()).hexdigest()[:32]}"
