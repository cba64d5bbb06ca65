"""Rows of a listing → rows by part, packed to save memory: millions wait between two steps of a
job.

A row in Python is a kilobyte; packed with others it is about a tenth of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from copydetect.inputs.listing import LISTING, ListedImage
from copydetect.parts import parts_of_hashes

ListedRows = bytes
"""Some rows of `LISTING`, packed; no bytes are no rows."""

_TOGETHER = 32_768
_PACKED = pa.ipc.IpcWriteOptions(compression="zstd")


class PartSorter:
    """Sorts rows by part, some ten thousand at a time; only these are held.

    parts: how many there are; wanted: rows of all others are left out.
    """

    def __init__(self, parts: int, wanted: frozenset[int]) -> None:
        self._parts = parts
        self._wanted = wanted
        self._held: list[pa.Table] = []

    def clear(self) -> None:
        """Forget what is held."""
        self._held = []

    def add(self, listing: pa.Table) -> Iterator[tuple[int, ListedRows]]:
        """Take rows; gives those of each part once there are enough of all."""
        self._held.append(listing)
        if sum(map(len, self._held)) >= _TOGETHER:
            yield from self.sorted()

    def sorted(self) -> Iterator[tuple[int, ListedRows]]:
        """The part numbers of the rows that are held, and the rows of each; then none is held."""
        table = pa.concat_tables([LISTING.empty_table(), *self._held])
        self.clear()
        parts = parts_of_hashes(table["sha256"].to_pylist(), self._parts)
        order = np.argsort(parts, kind="stable")
        found = np.unique(parts[order], return_index=True, return_counts=True)
        table = table.take(order)
        for part, start, count in zip(*(column.tolist() for column in found), strict=True):
            if part in self._wanted:
                yield part, _packed(table.slice(start, count))


def unpacked(packets: Iterable[ListedRows]) -> list[ListedImage]:
    """The images of one part."""
    return [
        ListedImage(**row)
        for packet in packets
        if packet
        for row in pa.ipc.open_stream(packet).read_all().to_pylist()
    ]


def _packed(rows: pa.Table) -> ListedRows:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, LISTING, options=_PACKED) as writer:
        writer.write_table(rows)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed
