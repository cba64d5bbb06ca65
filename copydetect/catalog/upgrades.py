"""A catalogue on its way to another descriptor model.

    begun        what is new gets descriptors of both models: the others are in a table beside
    in between   what was there gets its own, in CAT/upgrade, while nights go on
    rebuilt      the other descriptors take the place of the first ones, and an era begins

Until then the catalogue is searched with the model that it has. Local features and hashes are those
of the contents, whatever the model: they stay. Where the other model is compatible with the first,
their vectors are compared directly, and what is new gets the other model's alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.catalog.files import CatalogFile, key_of
from copydetect.catalog.generations import (
    CatalogPart,
    Generation,
    Upgrade,
    part_uris,
    with_files,
)
from copydetect.catalog.packing import BESIDE, GenerationWriter, part_stem
from copydetect.storage.files import Storage, StoredFile

_DESCRIPTORS = "descriptors"
_MADE = "made"


def upgrade_folder(catalog: str) -> str:
    """Where what was there gets descriptors of the other model."""
    return runs.join(catalog, "upgrade")


def made_folder(catalog: str, upgrade: Upgrade) -> str:
    """Where finished descriptors of that model are."""
    return runs.join(upgrade_folder(catalog), _MADE, upgrade.model)


def made_uri(catalog: str, upgrade: Upgrade, first: int, last: int, digest: str) -> str:
    """The file of the descriptors of contents among those numbers. digest: of which they are."""
    name = f"{key_of(first)}-{key_of(last)}-{digest}.parquet"
    return runs.join(made_folder(catalog, upgrade), name)


def left_to_describe(
    storage: Storage, catalog: str, generation: Generation, standing: Mapping[int, CatalogFile]
) -> list[CatalogFile]:
    """The files of contents without a descriptor of the other model, in order of the contents.

    standing: the file that stands for each content that is there.
    """
    upgrade = generation.upgrade
    if upgrade is None:
        return []
    uris = [file.uri for file in storage.files_under(made_folder(catalog, upgrade))]
    for table in (_DESCRIPTORS, BESIDE):
        uris += part_uris(catalog, generation.parts, table)
    described = set[str]()
    for uri in uris:
        rows = tables.read_table(storage, uri, ["image_id", "model"])
        described |= set(_of_model(rows, upgrade)["image_id"].to_pylist())
    return [standing[one] for one in sorted(standing) if key_of(one) not in described]


def without_beside(parts: Sequence[CatalogPart]) -> tuple[CatalogPart, ...]:
    """The parts without descriptors of another model than the catalogue's."""
    return tuple(
        CatalogPart(part.start, part.rows, {n: f for n, f in part.files.items() if n != BESIDE})
        for part in parts
    )


def upgraded_parts(
    writer: GenerationWriter, parts: Sequence[CatalogPart], upgrade: Upgrade
) -> list[CatalogPart]:
    """The parts with the other model's descriptors instead of those they had."""
    made = writer.storage.files_under(made_folder(writer.catalog, upgrade))
    upgraded = []
    for part in parts:
        images = writer.read(part.files["images"])
        living = images.filter(pc.equal(images["status"], "ok"))["image_id"]
        rows = tables.descriptors(upgrade.dimension).empty_table()
        for more in _described(writer, part, upgrade, made):
            rows = _joined(rows, more)
        rows = rows.filter(pc.is_in(rows["image_id"], value_set=living.combine_chunks()))
        rows = rows.sort_by([("image_id", "ascending"), ("view", "ascending")])
        entry = writer.write(_DESCRIPTORS, part_stem(part.start), rows)
        upgraded.append(with_files(part, {_DESCRIPTORS: entry}))
    return list(without_beside(upgraded))


def _described(
    writer: GenerationWriter, part: CatalogPart, upgrade: Upgrade, made: Sequence[StoredFile]
) -> Iterator[pa.Table]:
    """The other model's descriptors of a part, wherever they are."""
    for name in (BESIDE, _DESCRIPTORS):
        if name in part.files:
            yield _of_model(writer.read(part.files[name]), upgrade)
    keys = pa.array([key_of(n) for n in range(part.start, part.start + part.rows)], pa.string())
    for file in made:
        first, last = map(int, file.uri.rpartition("/")[2].split("-")[:2])
        if first < part.start + part.rows and last >= part.start:
            rows = tables.read_table(writer.storage, file.uri)
            yield rows.filter(pc.is_in(rows["image_id"], value_set=keys))


def _joined(rows: pa.Table, more: pa.Table) -> pa.Table:
    """The rows, and those of more images. What has none may be of another dimension."""
    known = pc.is_in(more["image_id"], value_set=rows["image_id"].combine_chunks())
    more = more.filter(pc.invert(known))
    return pa.concat_tables([rows, more]) if more.num_rows else rows


def _of_model(rows: pa.Table, upgrade: Upgrade) -> pa.Table:
    return rows.filter(pc.equal(rows["model"], upgrade.model))
