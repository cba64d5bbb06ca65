"""The input of a night: what may be new of it is read and hashed, the rest is passed over."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from copydetect import runs, tables
from copydetect.catalog.files import Ledger, stamp_of
from copydetect.errors import InputError
from copydetect.inputs.listing import LISTING, ListedImage
from copydetect.inputs.sources import Source, below

from .. import stages
from ..stages import Workplace
from .job import NightJob

LISTED = "listing"


def listed_images(job: NightJob, ledger: Ledger) -> tuple[list[ListedImage], dict[str, str]]:
    """The images that are not known to be what they were, and the stamps of their files.

    Plain local files whose size and time of change are those of the last time are not read; what is
    in a container, or in an object store, is read and hashed every night.
    """
    if job.sources is None:
        return [], {}
    # Taken before files are read: one that changes meanwhile is read again the next night.
    stamps = {uri: stamp_of(uri) for piece in job.sources.pieces for uri in piece.uris()}
    pieces = [_unknown(piece, ledger, stamps) for piece in job.sources.pieces]
    pieces = [piece for piece in pieces if piece.names or piece.unreadable]
    if not pieces:
        return [], stamps
    sources = replace(
        job.sources, pieces=tuple(pieces), file_count=sum(len(piece.names) for piece in pieces)
    )
    place = Workplace(job.engine, job.storage, runs.join(job.catalog, LISTED))
    job.storage.delete(place.folder)
    try:
        listing = stages.list_images(place, sources, "image")
    except InputError:
        if any(place.rows(uri) for uri in place.files(place.folder)):
            raise
        return [], stamps  # containers without images
    rows = tables.read_tables(job.storage, listing.uris, LISTING)
    job.storage.delete(place.folder)
    return _rows(rows), stamps


def _unknown(piece: Source, ledger: Ledger, stamps: dict[str, str]) -> Source:
    """A piece of the input without the files that need not be read."""
    if piece.kind != "files":
        return piece
    names = []
    for name in piece.names:
        uri = below(piece.root, name)
        if not ledger.is_known(uri, stamps[uri]):
            names.append(name)
    return replace(piece, names=tuple(names))


def _rows(table: pa.Table) -> list[ListedImage]:
    return [ListedImage(**row) for row in table.to_pylist()]
