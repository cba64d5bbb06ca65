"""Listing → parts: the images of each range of hashes together."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from copydetect import tables
from copydetect.inputs.listed_parts import ListedRows, PartSorter
from copydetect.storage.files import Storage


class RefsToParts(beam.PTransform[Any, Any]):
    """URIs of listing files → (part number, `ListedRows` of its images), for every wanted part.

    parts: how many there are; wanted: those still to be worked on.
    """

    def __init__(self, storage: Storage, parts: int, wanted: Collection[int]) -> None:
        super().__init__()
        self._sort = _SortByPart(storage, PartSorter(parts, frozenset(wanted)))
        self._wanted = wanted

    def expand(self, uris: PCollection[str]) -> PCollection[Any]:
        listed = uris | "read listing" >> beam.ParDo(self._sort)
        # A range of hashes may hold no image; its part has files all the same.
        every = uris.pipeline | "parts" >> beam.Create([(part, b"") for part in self._wanted])
        gathered: PCollection[Any] = (
            (listed, every) | "all parts" >> beam.Flatten() | "gather" >> beam.GroupByKey()
        )
        return gathered


class _SortByPart(beam.DoFn):
    """Sorts the rows of several listing files together: those of a small one are of many parts."""

    def __init__(self, storage: Storage, sorter: PartSorter) -> None:
        self._storage = storage
        self._sorter = sorter

    def start_bundle(self) -> None:
        self._sorter.clear()

    def process(self, uri: str) -> Iterator[tuple[int, ListedRows]]:
        for table in tables.read_batches(self._storage, uri):
            yield from self._sorter.add(table)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for rows in self._sorter.sorted():
            yield WindowedValue(rows, MIN_TIMESTAMP, (GlobalWindow(),))
