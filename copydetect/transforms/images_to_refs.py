"""Input → listing: every image is found and its bytes are hashed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection

from copydetect import runs, tables
from copydetect.inputs.listing import LISTING, list_images
from copydetect.inputs.sources import Source, Sources, read_source
from copydetect.storage.files import Storage
from copydetect.transforms.run_in_processes import RunInProcesses
from copydetect.types import Role
from copydetect.workers.processes import Processes


def listing_uri(folder: str, role: Role, piece: int) -> str:
    """Where the listing of one piece of the input is."""
    return runs.join(folder, f"{role}-{piece:05d}.parquet")


class ImagesToRefs(beam.PTransform[Any, Any]):
    """The pieces of an input → the URIs of listing files, one per piece, with rows of
    `ListedImage`; and None, see `waiting`."""

    def __init__(
        self,
        storage: Storage,
        sources: Sources,
        role: Role,
        folder: str,
        processes: Processes | None = None,
    ) -> None:
        super().__init__()
        self._pieces = list(enumerate(sources.pieces))
        self._list = PiecesToRefs(storage, role, folder, processes)

    def expand(self, begin: PBegin) -> PCollection[str]:
        uris: PCollection[str] = begin | "pieces" >> beam.Create([None, *self._pieces]) | self._list
        return uris


class PiecesToRefs(beam.PTransform[Any, Any]):
    """(number, piece of an input) → the URIs of listing files, one per piece. None is passed on."""

    def __init__(
        self, storage: Storage, role: Role, folder: str, processes: Processes | None = None
    ) -> None:
        super().__init__()
        self._lister = _Lister(storage, role, folder)
        self._processes = processes or Processes()

    def expand(self, pieces: PCollection[tuple[int, Source]]) -> PCollection[str]:
        work = RunInProcesses(self._lister.list, self._processes)
        uris: PCollection[str] = pieces | "list and hash" >> beam.ParDo(work)
        return uris


@dataclass(frozen=True)
class _Lister:
    """Lists and hashes pieces of an input."""

    storage: Storage
    role: Role
    folder: str

    def list(self, piece: tuple[int, Source]) -> str:
        number, source = piece
        contents = read_source(self.storage, source, self.role)
        listed = list_images(contents, source.origin, source.uris_beside())
        uri = listing_uri(self.folder, self.role, number)
        tables.write_rows(self.storage, uri, listed, LISTING)
        return uri
