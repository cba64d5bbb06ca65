"""Spills: files of records sorted by destination, so that a shuffle goes through files.

Beside them, files of a few named arrays: plans, samples, partitions.

A worker that routes records writes one spill; a worker that needs one destination reads its range
of every spill. So no engine ever holds the records, and memory is bounded by one part.

Layout: 8 bytes of magic, uint32 length of the header (little-endian), the header as JSON, then
the records, packed. The header says how many there are, so a truncated spill is recognised.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from copydetect.errors import IndexFileError, InputError
from copydetect.json_values import parse_as, parse_json
from copydetect.storage.files import Storage
from copydetect.storage.scratch import scratch_folder
from copydetect.types import Ints

BUNDLED, _MANY = 256, 512
"""So many spills are merged before they are read, where there are more than `_MANY`: else each of
12,000 readers, at 10⁸ images, would open those of 24,000 parts."""
_MAGIC = b"CDSPILL1"

Records = npt.NDArray[np.void]
"""A structured array: (n,) records of named fields."""


@dataclass(frozen=True)
class Spill:
    """The header of a spill.

    keys: (m,) int64, the destinations that occur, ascending; starts: (m + 1,) int64, record
    numbers, those of keys[i] are starts[i] … starts[i + 1] − 1; offset_bytes: where records begin.
    """

    uri: str
    dtype: np.dtype[np.void]
    keys: Ints
    starts: Ints
    offset_bytes: int
    notes: dict[str, Any]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def range_of(self, key: int) -> tuple[int, int]:
        """First and past-the-last record of a destination; an empty range where it has none."""
        position = int(np.searchsorted(self.keys, key))
        if position == len(self.keys) or self.keys[position] != key:
            return 0, 0
        return int(self.starts[position]), int(self.starts[position + 1])


@dataclass(frozen=True)
class _Header:
    """What the header of a spill says, as JSON: the records' fields, destinations and counts."""

    dtype: list[list[Any]]
    keys: list[int]
    counts: list[int]
    notes: dict[str, Any]


def write_spill(
    storage: Storage,
    uri: str,
    destinations: Ints,
    records: Records,
    notes: Mapping[str, Any] | None = None,
) -> int:
    """Write records sorted by destination (stable), atomically; returns the file's bytes.

    destinations: (n,) int64, one per record; notes: anything JSON that readers should know.
    """
    if np.any(destinations[1:] < destinations[:-1]):
        records = records[stable_order(destinations)]
    keys, counts = np.unique(destinations, return_counts=True)
    fields = [list(field) for field in records.dtype.descr]
    described = _Header(fields, keys.tolist(), counts.tolist(), dict(notes or {}))
    content = np.ascontiguousarray(records).view(np.uint8)
    data = b"".join([_begin(described), content.data])
    storage.write(uri, data)
    return len(data)


def stable_order(numbers: npt.NDArray[np.integer]) -> Ints:
    """The order of (n,) whole numbers, equal ones in theirs."""
    lowest = int(numbers.min(initial=0))
    # Two bytes are sorted by their digits, several times as fast.
    small = int(numbers.max(initial=0)) - lowest < 1 << 16
    keys = (numbers - lowest).astype(np.uint16) if small else numbers
    return np.argsort(keys, kind="stable")


def open_spill(storage: Storage, uri: str) -> Spill:
    """Read a spill's header and check its size; IndexFileError where it is missing or damaged."""
    try:
        with storage.open(uri) as file:
            return _header_of(file, uri)
    except InputError as error:
        raise IndexFileError(f"missing spill: {error}") from error


def read_destination(storage: Storage, uri: str, key: int) -> Records:
    """The records of one destination, for which the file is opened once; errors as `open_spill`."""
    try:
        with storage.open(uri) as file:
            spill = _header_of(file, uri)
            start, stop = spill.range_of(key)
            file.seek(spill.offset_bytes + start * spill.dtype.itemsize)
            return np.frombuffer(file.read((stop - start) * spill.dtype.itemsize), spill.dtype)
    except InputError as error:
        raise IndexFileError(f"missing spill: {error}") from error


def is_bundled(spills: int) -> bool:
    """Whether so many spills are bundled before they are read."""
    return spills > _MANY


def merge_spills(
    storage: Storage,
    uris: Sequence[str],
    uri: str,
    wanted: range | None = None,
    note: Callable[[Sequence[Spill]], dict[str, Any]] = lambda _: {},
) -> None:
    """Write the records of several spills as one: those of a destination in the order of `uris`.

    wanted: destinations that are taken; all without; note: the notes, from the merged spills. Of
    each spill no more than one destination is held.
    """
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(storage.open(one)) for one in uris]
        spills = [_header_of(file, one) for file, one in zip(files, uris, strict=True)]
        counts: dict[int, int] = {}
        for file, spill in zip(files, spills, strict=True):
            bounds = [wanted.start, wanted.stop] if wanted else [0, np.iinfo(np.int64).max]
            first, stop = np.searchsorted(spill.keys, bounds)
            file.seek(spill.offset_bytes + int(spill.starts[first]) * spill.dtype.itemsize)
            keys_here = spill.keys[first:stop].tolist()
            sizes = np.diff(spill.starts[first : stop + 1]).tolist()
            for key, count in zip(keys_here, sizes, strict=True):
                counts[key] = counts.get(key, 0) + count
        keys = sorted(counts)
        fields = [list(field) for field in spills[0].dtype.descr]
        header = _Header(fields, keys, [counts[key] for key in keys], note(spills))
        folder = stack.enter_context(scratch_folder())
        local = os.path.join(folder, "merged.spill")
        with open(local, "wb") as merged:
            merged.write(_begin(header))
            for key in keys:
                for file, spill in zip(files, spills, strict=True):
                    start, stop = spill.range_of(key)
                    merged.write(file.read((stop - start) * spill.dtype.itemsize))
        storage.upload(local, uri)


def _header_of(file: BinaryIO, uri: str) -> Spill:
    """The header of an open spill."""
    try:
        magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise IndexFileError(f"{uri} is not a spill: it begins with {magic!r}")
        (length,) = struct.unpack("<I", file.read(4))
        header = parse_as(_Header, file.read(length))
        size = file.seek(0, 2)
        dtype = dtype_of(header.dtype)
        keys = np.array(header.keys, np.int64)
        starts = np.cumsum([0, *header.counts], dtype=np.int64)
    except (struct.error, ValueError, TypeError, OverflowError) as error:
        raise IndexFileError(f"{uri} is truncated or damaged: its header is not whole") from error
    if len(keys) + 1 != len(starts) or np.any(np.diff(starts) < 1) or np.any(np.diff(keys) < 1):
        raise IndexFileError(f"{uri} is damaged: its destinations don't ascend")
    offset = len(_MAGIC) + 4 + length
    wanted = offset + int(starts[-1]) * dtype.itemsize
    if size != wanted:
        raise IndexFileError(f"{uri} is truncated: {size} bytes instead of {wanted}")
    return Spill(uri, dtype, keys, starts, offset, header.notes)


def _begin(header: _Header) -> bytes:
    """What a spill begins with."""
    described = json.dumps(vars(header)).encode()
    return b"".join([_MAGIC, struct.pack("<I", len(described)), described])


def read_records(storage: Storage, spill: Spill, start: int, stop: int) -> Records:
    """Records `start` … `stop` − 1 of a spill, as a new structured array."""
    return read_range(storage, spill.uri, spill.dtype, spill.offset_bytes, start, stop)


def read_range(
    storage: Storage,
    uri: str,
    dtype: np.dtype[np.void],
    offset_bytes: int,
    start: int,
    stop: int,
) -> Records:
    """As `read_records`, for a reader that knows the layout and need not open the header."""
    wanted = (stop - start) * dtype.itemsize
    if not wanted:
        return np.empty(0, dtype)
    try:
        with storage.open(uri) as file:
            file.seek(offset_bytes + start * dtype.itemsize)
            data = file.read(wanted)
    except InputError as error:
        raise IndexFileError(f"missing spill: {error}") from error
    if len(data) != wanted:
        raise IndexFileError(f"{uri} is truncated: {len(data)} bytes instead of {wanted}")
    return np.frombuffer(data, dtype)


def dtype_of(fields: list[list[Any]]) -> np.dtype[np.void]:
    """The structured type whose `descr` has been through JSON, which makes lists of tuples."""
    return np.dtype([(name, kind, *(tuple(s) for s in shape)) for name, kind, *shape in fields])


def write_arrays(storage: Storage, uri: str, described: Any, **arrays: npt.NDArray[Any]) -> None:
    """Write named arrays and a description (anything JSON) as one NumPy `.npz`, atomically."""
    arrays["described"] = np.frombuffer(json.dumps(described).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    storage.write(uri, buffer.getvalue())


def read_arrays(storage: Storage, uri: str) -> tuple[Any, dict[str, npt.NDArray[Any]]]:
    """What `write_arrays` wrote; IndexFileError where the file is missing or damaged."""
    try:
        with np.load(io.BytesIO(storage.read(uri)), allow_pickle=False) as file:
            arrays = dict(file)
        return parse_json(arrays.pop("described").tobytes()), arrays
    except InputError as error:
        raise IndexFileError(f"missing file: {error}") from error
    except Exception as error:  # as many kinds as zip, NumPy's header and its syntax have
        raise IndexFileError(f"{uri} is damaged or of another kind: {error}") from error
