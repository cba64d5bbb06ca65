"""Listing → parts: the images of each range of hashes together."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect import tables
from copydetect.inputs.listing import ListedImage
from copydetect.parts import part_of
from copydetect.storage.files import Storage


class RefsToParts(beam.PTransform[Any, Any]):
    """URIs of listing files → (part number, batches of its images), for every wanted part.

    parts: how many there are; wanted: those still to be worked on.
    """

    def __init__(self, storage: Storage, parts: int, wanted: Collection[int]) -> None:
        super().__init__()
        self._storage = storage
        self._parts = parts
        self._wanted = frozenset(wanted)

    def expand(self, uris: PCollection[str]) -> PCollection[Any]:
        listed = uris | "read listing" >> beam.FlatMap(
            _listed_by_part, self._storage, self._parts, self._wanted
        )
        # A range of hashes may hold no image; its part has files all the same.
        every = uris.pipeline | "parts" >> beam.Create([(part, []) for part in self._wanted])
        gathered: PCollection[Any] = (
            (listed, every) | "all parts" >> beam.Flatten() | "gather" >> beam.GroupByKey()
        )
        return gathered


def _listed_by_part(
    uri: str, storage: Storage, parts: int, wanted: frozenset[int]
) -> Iterator[tuple[int, list[ListedImage]]]:
    for table in tables.read_batches(storage, uri):
        by_part: dict[int, list[ListedImage]] = {}
        for row in table.to_pylist():
            part = part_of(row["sha256"], parts)
            if part in wanted:
                by_part.setdefault(part, []).append(ListedImage(**row))
        yield from by_part.items()
