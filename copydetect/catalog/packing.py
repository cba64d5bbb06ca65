"""The descriptions of a night → parts of a catalogue; and old parts without removed images."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.catalog.files import CatalogFile, FileStatus, files_table, key_of
from copydetect.catalog.generations import CatalogPart, FileEntry, entry_of, read_entry, with_files
from copydetect.storage.files import Storage
from copydetect.storage.records import Record
from copydetect.types import ImageRow

PART_ROWS = 4096
_SHARED_ROWS, _SHARED_PARTS = 256, 16
"""So many rows a part of a night has at least, and so many parts a large night, so that there is
work for all workers."""
_ROWS_TOGETHER = {"keypoints": 128}
"""Verification reads the features of single images."""
BESIDE = "descriptors-beside"
"""The table of another model's descriptors, where a catalogue is on its way to that one."""
_FEATURES = ("descriptors", BESIDE, "keypoints")


@dataclass(frozen=True)
class GenerationWriter:
    """Where a generation is written: the catalogue, and the folder of the generation."""

    storage: Storage
    catalog: str
    folder: str

    def write(self, table: str, name: str, rows: pa.Table) -> FileEntry:
        """Write a table of the generation; returns its entry."""
        uri = runs.join(self.folder, table, f"{name}.parquet")
        tables.write_table(self.storage, uri, rows, _ROWS_TOGETHER.get(table))
        return entry_of(self.storage, self.catalog, uri)

    def kept(self, before: FileEntry | None, table: str, name: str, source: str) -> FileEntry:
        """The entry of a file that becomes part of the generation: the earlier one, where that
        holds the same."""
        data = self.storage.read(source)
        found = Record.of(io.BytesIO(data))
        if before and (before.size_bytes, before.sha256) == (found.size_bytes, found.sha256):
            return before
        uri = runs.join(self.folder, table, name)
        self.storage.write(uri, data)
        return FileEntry(uri[len(self.catalog.rstrip("/")) + 1 :], found.size_bytes, found.sha256)

    def read(self, entry: FileEntry) -> pa.Table:
        """A table of this or an earlier generation."""
        return read_entry(self.storage, self.catalog, entry)


@dataclass
class _Pack:
    """Rows of a part that is being filled."""

    held: dict[str, list[pa.Table]] = field(default_factory=dict)
    rows: int = 0

    def add(self, named: Mapping[str, pa.Table]) -> None:
        for name, table in named.items():
            self.held.setdefault(name, []).append(table)
        self.rows += named["images"].num_rows


def pack_night(
    writer: GenerationWriter,
    described: Mapping[str, Sequence[str]],
    files: Sequence[CatalogFile],
    start: int,
    retryable: Collection[str],
    like: CatalogPart | None = None,
) -> list[CatalogPart]:
    """Write the parts of what a night has described: enough for all workers, see `merged_tail`.

    described: files of each table, by the parts of the night; files: that get a number from
    `start` on, in their order: what was described first; retryable: keys of images that failed and
    are to be tried again; like: an earlier part, whose tables this one has too. Numbers and rows
    follow each other as they do in the described parts.
    """
    parts: list[CatalogPart] = []
    pack, at = _Pack(), 0
    rows_of_part = min(max(len(files) // _SHARED_PARTS, _SHARED_ROWS), PART_ROWS)
    for named in _described(writer.storage, described):
        # Parquet has no seconds: times come back in milliseconds.
        pack.add({**named, "images": named["images"].cast(tables.IMAGES)})
        if pack.rows >= rows_of_part:
            some = files[at : at + pack.rows]
            like = _flush(writer, pack, some, start + at, retryable, like)
            parts.append(like)
            pack, at = _Pack(), at + pack.rows
    undescribed = files[at + pack.rows :]
    if undescribed:
        rows = [_undescribed(file) for file in undescribed]
        pack.add({"images": tables.rows_to_table(rows, tables.IMAGES)})
    if pack.rows:
        parts.append(_flush(writer, pack, files[at:], start + at, retryable, like))
    return parts


def _described(
    storage: Storage, described: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, pa.Table]]:
    for uris in zip(*described.values(), strict=True):
        yield {
            name: tables.read_table(storage, uri) for name, uri in zip(described, uris, strict=True)
        }


def _flush(
    writer: GenerationWriter,
    pack: _Pack,
    files: Sequence[CatalogFile],
    start: int,
    retryable: Collection[str],
    like: CatalogPart | None,
) -> CatalogPart:
    name = part_stem(start)
    joined = _no_features(writer, like)
    joined |= {table: pa.concat_tables(pieces) for table, pieces in pack.held.items()}
    settled = [
        _settled(file, row, retryable)
        for file, row in zip(files, joined["images"].to_pylist(), strict=True)
    ]
    joined["files"] = files_table(settled)
    entries = {table: writer.write(table, name, rows) for table, rows in joined.items()}
    return CatalogPart(start, pack.rows, entries)


def _settled(file: CatalogFile, row: dict[str, object], retryable: Collection[str]) -> CatalogFile:
    """The row of a file after it has been described."""
    if file.status != "ok" or file.content >= 0:
        return file
    if row["status"] == "failed":
        status: FileStatus = "again" if row["image_id"] in retryable else "failed"
        return replace(file, status=status)
    twin = row["duplicate_of"]
    return replace(file, content=file.number if twin is None else int(str(twin)))


def _undescribed(file: CatalogFile) -> ImageRow:
    return ImageRow(
        image_id=key_of(file.number),
        role="image",
        uri=file.uri,
        member=file.member,
        sha256=file.sha256 if file.status == "ok" else None,
        format=None,
        width=None,
        height=None,
        bytes=None,
        captured_at=None,
        duplicate_of=key_of(file.content) if file.status == "ok" else None,
        status="duplicate" if file.status == "ok" else "failed",
    )


def gap(writer: GenerationWriter, start: int, rows: int, like: CatalogPart | None) -> CatalogPart:
    """A part of numbers that no image has: those of a night that was rolled back are not given
    again."""
    unused = [
        CatalogFile(number, "", "", "", "", "", "", 0, -1, "unused", 0)
        for number in range(start, start + rows)
    ]
    blanks = [_undescribed(file) for file in unused]
    made = _no_features(writer, like)
    made |= {"images": tables.rows_to_table(blanks, tables.IMAGES), "files": files_table(unused)}
    name = part_stem(start)
    entries = {table: writer.write(table, name, table_rows) for table, table_rows in made.items()}
    return CatalogPart(start, rows, entries)


def part_stem(start: int) -> str:
    """What the files of a part are called, by its first number."""
    return f"part-{start:09d}"


def _no_features(writer: GenerationWriter, like: CatalogPart | None) -> dict[str, pa.Table]:
    """Tables of features without rows."""
    wanted = [name for name in _FEATURES if like and name in like.files]
    return {name: writer.read(like.files[name]).slice(0, 0) for name in wanted if like}


def rewritten(
    writer: GenerationWriter,
    part: CatalogPart,
    files: Mapping[int, CatalogFile],
    standing: Mapping[int, CatalogFile],
) -> CatalogPart:
    """A part in which some files have changed, or have lost their content.

    files: all files of the catalogue as they are now, by number; standing: the living file that
    stands for each content. What no living file has is taken out of the features.
    """
    name = part_stem(part.start)
    own = [files[number] for number in range(part.start, part.start + part.rows)]
    images = writer.read(part.files["images"])
    rows = [
        _refreshed(ImageRow(**row), standing.get(part.start + at))
        for at, row in enumerate(images.to_pylist())
    ]
    entries = {
        "files": writer.write("files", name, files_table(own)),
        "images": writer.write("images", name, tables.rows_to_table(rows, tables.IMAGES)),
    }
    living = pa.array([row.image_id for row in rows if row.status == "ok"], pa.string())
    for table in _FEATURES:
        if table not in part.files:
            continue
        features = writer.read(part.files[table])
        kept = features.filter(pc.is_in(features["image_id"], living))
        if kept.num_rows < features.num_rows:
            entries[table] = writer.write(table, name, kept)
    return with_files(part, entries)


def _refreshed(row: ImageRow, standing: CatalogFile | None) -> ImageRow:
    """A content's row with the place of the file that stands for it; blank where none does."""
    if row.status != "ok":
        return row
    if standing is None:
        blank: dict[str, Any] = dict.fromkeys(ImageRow.__dataclass_fields__)
        blank |= {"image_id": row.image_id, "role": row.role, "uri": "", "member": ""}
        return ImageRow(**{**blank, "status": "failed"})
    return replace(row, uri=standing.uri, member=standing.member)
