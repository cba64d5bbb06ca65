"""Input → listing: every image is found and its bytes are hashed once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection

from copydetect import runs, tables
from copydetect.inputs.sources import Source, Sources, read_source
from copydetect.parts import LISTING, list_images
from copydetect.storage import Storage
from copydetect.types import Role


def listing_uri(folder: str, role: Role, piece: int) -> str:
    """Where the listing of one piece of the input is."""
    return runs.join(folder, f"{role}-{piece:05d}.parquet")


class ImagesToRefs(beam.PTransform[Any, Any]):
    """The pieces of an input → the URIs of listing files, one a piece, rows of `ListedImage`."""

    def __init__(self, storage: Storage, sources: Sources, role: Role, folder: str) -> None:
        super().__init__()
        self._sources = sources
        self._list_and_hash = _ListAndHash(storage, role, folder)

    def expand(self, begin: PBegin) -> PCollection[str]:
        uris: PCollection[str] = (
            begin
            | "pieces" >> beam.Create(list(enumerate(self._sources.pieces)))
            | "list and hash" >> beam.ParDo(self._list_and_hash)
        )
        return uris


class _ListAndHash(beam.DoFn):
    def __init__(self, storage: Storage, role: Role, folder: str) -> None:
        self._storage = storage
        self._role = role
        self._folder = folder

    def process(self, piece: tuple[int, Source]) -> Iterator[str]:
        number, source = piece
        listed = list_images(read_source(self._storage, source, self._role), source.origin)
        uri = listing_uri(self._folder, self._role, number)
        tables.write_rows(self._storage, uri, listed, LISTING)
        yield uri
