"""The tables of a generation with image_ids and URIs instead of image numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import tables
from copydetect.catalog.files import CatalogFile, standing_files
from copydetect.types import Ints

_OF_CONTENT = ("sha256", "format", "width", "height", "bytes", "captured_at")
_OF_PICTURE = ("transparent", "frames", "duration_msec")


def images_of(files: Sequence[CatalogFile], contents: pa.Table) -> pa.Table:
    """Rows of `images` of living files.

    contents: rows of `images` as the catalogue keeps them, by number. Of files with the same bytes
    that of the lowest number stands for the others.
    """
    at = pa.array([file.content for file in files], pa.int64())
    described = contents.take(at)
    standing = standing_files(files)
    stands = [standing[file.content].image_id for file in files]
    twins = [
        None if stand == file.image_id else stand for file, stand in zip(files, stands, strict=True)
    ]
    columns: dict[str, object] = {
        "image_id": [file.image_id for file in files],
        "role": ["image"] * len(files),
        "uri": [file.uri for file in files],
        "member": [file.member for file in files],
        "duplicate_of": pa.array(twins, pa.string()),
        "status": ["ok" if twin is None else "duplicate" for twin in twins],
    }
    # A catalogue knows contents, not what lies beside a file.
    columns["companions"] = pa.nulls(len(files), tables.IMAGES.field("companions").type)
    columns |= {name: described[name] for name in (*_OF_CONTENT, *_OF_PICTURE)}
    return pa.table({name: columns[name] for name in tables.IMAGES.names}, schema=tables.IMAGES)


def matches_of(matches: pa.Table, standing: Mapping[int, CatalogFile]) -> pa.Table:
    """Rows of `matches` with the ids and places of the files that stand for both contents.

    standing: by number of the content; pairs of which one is gone are left out.
    """
    numbers = [numbers_of(matches[name]) for name in ("query_id", "reference_id")]
    there = np.array([number in standing for number in np.concatenate(numbers).tolist()], np.bool_)
    kept = np.flatnonzero(there[: len(matches)] & there[len(matches) :])
    matches = matches.take(pa.array(kept))
    for side, ends in zip(("query", "reference"), numbers, strict=True):
        files = [standing[number] for number in ends[kept].tolist()]
        ids, uris = [file.image_id for file in files], [file.uri for file in files]
        matches = tables.with_columns(matches, {f"{side}_id": ids, f"{side}_uri": uris})
    return matches


def numbers_of(keys: pa.ChunkedArray) -> Ints:
    """(n,) the numbers of images that a column names by their keys."""
    return np.asarray(pc.cast(keys, pa.int64()).to_numpy(), np.int64)


def named(table: pa.Table, names: Mapping[int, CatalogFile]) -> pa.Table:
    """A table whose image_id is a key, with the images' names instead; rows of other images are
    left out. names: by number."""
    numbers = numbers_of(table["image_id"])
    kept = np.array([number in names for number in numbers.tolist()], np.bool_)
    table = table.filter(pa.array(kept))
    ids = [names[number].image_id for number in numbers[kept].tolist()]
    return tables.with_columns(table, {"image_id": ids})
