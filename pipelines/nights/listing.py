"""The input of a night: files that may be new are read and hashed, the others are skipped."""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import replace

import pyarrow as pa

from copydetect import runs, tables
from copydetect.catalog.files import Ledger, stamps_of
from copydetect.errors import InputError
from copydetect.inputs.listing import LISTING, ListedImage
from copydetect.inputs.manifests import manifest_rows
from copydetect.inputs.sources import Source
from copydetect.types import ImageRef

from .. import stages
from ..stages import NoImagesError, Workplace
from .job import NightJob

LISTED = "listing"


def listed_images(job: NightJob, ledger: Ledger) -> tuple[list[ListedImage], dict[str, str]]:
    """The images that are not known to be what they were, and the stamps of their files.

    Files and containers whose size and time of change are those of the last time are not read.
    """
    if job.sources is None:
        return [], {}
    # Taken before files are read: one that changes meanwhile is read again the next night.
    roots: dict[str, list[str]] = {}
    for piece in job.sources.pieces:
        for uri in piece.uris():
            roots.setdefault(piece.root or posixpath.dirname(uri), []).append(uri)
    stamps = stamps_of(job.storage, roots)
    folder = runs.join(job.catalog, LISTED)
    place = Workplace(job.storage, runs.join(folder, "images"), job.engine)
    job.storage.delete(folder)
    pieces = [_unknown(place, piece, ledger, stamps) for piece in job.sources.pieces]
    pieces = [piece for piece in pieces if piece.names or piece.unreadable]
    if not pieces:
        job.storage.delete(folder)
        return [], stamps
    sources = replace(
        job.sources, pieces=tuple(pieces), file_count=sum(len(piece.names) for piece in pieces)
    )
    try:
        listing = stages.list_images(place, sources, "image")
    except NoImagesError:
        return [], stamps  # containers without images
    rows = tables.read_tables(job.storage, listing.uris, LISTING)
    job.storage.delete(folder)
    return _rows(rows), stamps


def _unknown(place: Workplace, piece: Source, ledger: Ledger, stamps: dict[str, str]) -> Source:
    """A piece of the input without what need not be read. stamps: gains those of a manifest's
    files."""
    names = [
        name
        for name, uri in zip(piece.names, piece.uris(), strict=True)
        if not ledger.is_known(uri, stamps[uri])
    ]
    piece = replace(piece, names=tuple(names))
    return _unknown_rows(place, piece, ledger, stamps) if piece.kind == "manifest" else piece


def _unknown_rows(
    place: Workplace, piece: Source, ledger: Ledger, stamps: dict[str, str]
) -> Source:
    """A manifest of the rows that are to be read; the same where it is damaged, or one names no
    file, for the stage that reads it to tell."""
    (uri,) = piece.uris()
    try:
        rows = list(manifest_rows(place.storage, uri, "image"))
    except InputError:
        return piece
    refs = [row for row in rows if isinstance(row, ImageRef)]
    stamps |= stamps_of(place.storage, {"": [ref.uri for ref in refs]})
    fresh = [ref for ref in refs if not ledger.is_known(ref.uri, stamps[ref.uri])]
    if len(refs) < len(rows) or len(fresh) == len(refs):
        return piece
    if not fresh:
        return replace(piece, names=())
    table = pa.table({name: [getattr(ref, name) for ref in fresh] for name in ("uri", "image_id")})
    name = f"{hashlib.sha256(uri.encode()).hexdigest()[:16]}.parquet"
    root = runs.join(posixpath.dirname(place.folder), "manifests")
    tables.write_table(place.storage, runs.join(root, name), table)
    return replace(piece, root=root, names=(name,))


def _rows(table: pa.Table) -> list[ListedImage]:
    return [ListedImage(**row) for row in table.to_pylist()]
