"""Input → listing: every image is found and its bytes are hashed once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection

from copydetect import runs, tables
from copydetect.inputs.listed_files import ListedFile, ListingFiles, settle_listing
from copydetect.inputs.listing import LISTING, ListedImage, RowSum, list_images
from copydetect.inputs.piece_files import PieceFiles, pieces_uri, read_pieces
from copydetect.inputs.repeated_ids import hashes_of
from copydetect.inputs.sources import Source, Sources, read_source
from copydetect.storage.files import Storage
from copydetect.transforms.run_in_processes import RunInProcesses
from copydetect.transforms.waiting import GatherThen
from copydetect.types import Role
from copydetect.workers.processes import Processes


@dataclass(eq=False, repr=False)
class ImagesToRefs(beam.PTransform[Any, Any]):
    """The pieces of an input → the URIs of listing files, with rows of `ListedImage`; and None, see
    `waiting`."""

    storage: Storage
    sources: Sources
    role: Role
    folder: str
    processes: Processes = field(default_factory=Processes)

    def expand(self, begin: PBegin) -> PCollection[str]:
        pieces = _Pieces(self.storage, self.sources, self.role, self.folder)
        listed = PiecesToRefs(self.storage, self.role, self.folder, self.processes)
        uris: PCollection[str] = begin | pieces | listed
        return uris


@dataclass(eq=False, repr=False)
class ImagesToListing(beam.PTransform[Any, Any]):
    """The pieces of an input → None, once listing files are written and `read_listed` tells what is
    known of them."""

    storage: Storage
    sources: Sources
    files: ListingFiles
    processes: Processes = field(default_factory=Processes)

    def expand(self, begin: PBegin) -> PCollection[Any]:
        pieces = _Pieces(self.storage, self.sources, self.files.role, self.files.folder)
        listed = PiecesToListing(self.storage, self.files, self.processes)
        settled: PCollection[Any] = begin | pieces | listed
        return settled


@dataclass(eq=False, repr=False)
class PiecesToListing(beam.PTransform[Any, Any]):
    """(number, piece of an input), and None → None, once all is as after `ImagesToListing`."""

    storage: Storage
    files: ListingFiles
    processes: Processes = field(default_factory=Processes)

    def expand(self, pieces: PCollection[Any]) -> PCollection[Any]:
        lister = _Lister(self.storage, self.files.role, self.files.folder)
        settled: PCollection[Any] = (
            pieces
            | "list and hash" >> beam.ParDo(RunInProcesses(lister.list, self.processes))
            | "settle" >> GatherThen(settle_listing, self.storage, self.files)
        )
        return settled


@dataclass(eq=False, repr=False)
class PiecesToRefs(beam.PTransform[Any, Any]):
    """(number, piece of an input) → the URIs of listing files, one per piece. None is passed on."""

    storage: Storage
    role: Role
    folder: str
    processes: Processes = field(default_factory=Processes)

    def expand(self, pieces: PCollection[tuple[int, Source]]) -> PCollection[str]:
        lister = _Lister(self.storage, self.role, self.folder)
        work = RunInProcesses(lister.list, self.processes)
        listed = pieces | "list and hash" >> beam.ParDo(work)
        uris: PCollection[str] = listed | "uris" >> beam.Map(_uri_of)
        return uris


def file_count(sources: Sources) -> int:
    """How many listing files an input gets: one per piece, or per file of pieces."""
    pieces = sources.pieces
    return pieces.files if isinstance(pieces, PieceFiles) else len(pieces)


@dataclass(eq=False, repr=False)
class _Pieces(beam.PTransform[Any, Any]):
    """The pieces of an input, with their numbers; numbers of files of pieces, where there are many;
    and None."""

    storage: Storage
    sources: Sources
    role: Role
    folder: str

    def expand(self, begin: PBegin) -> PCollection[Any]:
        found = self.sources.pieces
        if isinstance(found, PieceFiles):
            found.copy_to(self.storage, self.folder, self.role)
            work: list[Any] = [(number, None) for number in range(found.files)]
        else:
            work = list(enumerate(found))
        pieces: PCollection[Any] = begin | "pieces" >> beam.Create([None, *work])
        return pieces


@dataclass(frozen=True)
class _Lister:
    """Lists and hashes pieces of an input."""

    storage: Storage
    role: Role
    folder: str

    def list(self, work: tuple[int, Source | None]) -> ListedFile:
        """List one piece, or where it is None, those of the file of that number."""
        number, source = work
        pieces = (
            [source]
            if source is not None
            else read_pieces(self.storage, pieces_uri(self.folder, self.role, number))
        )
        rows, ids = RowSum(), bytearray()

        def images() -> Iterator[ListedImage]:
            nonlocal rows, ids
            for image in chain.from_iterable(map(self._images_of, pieces)):
                rows += RowSum.of(image)
                ids += hashes_of([image.image_id]).tobytes()
                yield image

        uri = runs.join(self.folder, f"{self.role}-{number:05d}.parquet")
        tables.write_rows(self.storage, uri, images(), LISTING)
        return ListedFile(number, uri, rows, bytes(ids))

    def _images_of(self, source: Source) -> Iterator[ListedImage]:
        contents = read_source(self.storage, source, self.role)
        return list_images(contents, source.origin, source.uris_beside())


def _uri_of(listed: ListedFile | None) -> str | None:
    return None if listed is None else listed.uri
