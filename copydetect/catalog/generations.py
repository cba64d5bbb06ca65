"""A generation of a catalogue: one state of it, in files that never change.

    CAT/catalog.json                  the pointer to the last generation; see `pointer`
    CAT/gen-000042/manifest.json      names every file of the generation, with size and SHA-256
    CAT/gen-000042/<table>/part-NNNNN.…

The images of a catalogue are numbered in the order in which they came, and cut into parts. A part
has a file of each table. A night that changes a table of an old part writes it anew, in its own
folder; all other files are those of earlier generations, which the manifest names.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from copydetect import runs, tables
from copydetect.errors import InputError, RunError
from copydetect.json_values import parse_as
from copydetect.storage.files import Storage
from copydetect.storage.records import Record

MANIFEST = "manifest.json"
_CHECKED_TOGETHER = 8


def generation_name(number: int) -> str:
    """The folder of a generation: "gen-000042"."""
    return f"gen-{number:06d}"


@dataclass(frozen=True)
class FileEntry:
    """A file of a catalogue: its path below the catalogue, its size and SHA-256."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class CatalogPart:
    """A run of images: number of the first, how many, and the file of each table."""

    start: int
    rows: int
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Era:
    """The settings that stay the same while a catalogue grows.

    options: those of `RunOptions` that its results depend on, as they were given; settings: the
    same, resolved; models: identities of what describes images.
    """

    number: int
    options: dict[str, Any]
    settings: dict[str, Any]
    models: dict[str, str]


@dataclass(frozen=True)
class Upgrade:
    """Another descriptor model that a catalogue is being described with; see `upgrades`.

    era: that begins once all is described; dimension: of the other model's vectors; compatible:
    whether vectors of both models are compared with one another.
    """

    era: Era
    dimension: int
    compatible: bool = False

    @property
    def model(self) -> str:
        """The identity of the other model."""
        return self.era.models["descriptor"]


@dataclass(frozen=True)
class Generation:
    """One state of a catalogue.

    created: UTC, never before that of the generation it came from; parent: 0 for the first;
    numbers: first image number that was never given; group_ids, events: how many were given, ever;
    parts: of the images; tables: files that are not of a part, by table; counts: of the living
    images, groups and so on; seconds: wall time of the night's stages; upgrade: to another
    descriptor model, where one was begun.
    """

    number: int
    parent: int
    created: str
    era: Era
    numbers: int = 0
    group_ids: int = 0
    events: int = 0
    parts: tuple[CatalogPart, ...] = ()
    tables: dict[str, tuple[FileEntry, ...]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    quality: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    upgrade: Upgrade | None = None
    format: int = 1

    @property
    def name(self) -> str:
        """Its folder below the catalogue."""
        return generation_name(self.number)

    def entries(self) -> Iterator[FileEntry]:
        """Every file that the generation is made of."""
        for part in self.parts:
            yield from part.files.values()
        for files in self.tables.values():
            yield from files

    def to_json(self) -> bytes:
        """As the manifest holds it."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @staticmethod
    def load(storage: Storage, folder: str, path: str, sha256: str) -> Generation:
        """Read a manifest; RunError where it is missing or not what the pointer says."""
        uri = runs.join(folder, path)
        try:
            data = storage.read(uri)
        except InputError as error:
            raise RunError(f"the catalogue {folder} is not whole: {path} is missing") from error
        record = _record(data)
        if sha256 and record.sha256 != sha256:
            raise RunError(f"{uri} is damaged: its SHA-256 is not the one that catalog.json names")
        try:
            return parse_as(Generation, data)
        except ValueError as error:
            raise RunError(f"{uri} is damaged or of another version: {error}") from error


def _record(data: bytes) -> Record:
    return Record.of(io.BytesIO(data))


def entry_of(storage: Storage, folder: str, uri: str) -> FileEntry:
    """The entry of a file that was just written below the catalogue."""
    with storage.open(uri) as stream:
        record = Record.of(stream)
    return FileEntry(uri[len(folder.rstrip("/")) + 1 :], record.size_bytes, record.sha256)


def damaged_files(storage: Storage, folder: str, entries: Iterable[FileEntry]) -> list[str]:
    """The damage of files of a catalogue, one sentence for each; empty where there is none."""
    entries = sorted(set(entries), key=lambda entry: entry.path)
    with ThreadPoolExecutor(_CHECKED_TOGETHER) as pool:
        found = pool.map(lambda entry: _damage(storage, folder, entry), entries)
        return [what for what in found if what]


def refuse_damaged(storage: Storage, folder: str, entries: Iterable[FileEntry]) -> None:
    """RunError that names the first file that is missing or damaged."""
    found = damaged_files(storage, folder, entries)
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise RunError(
            f"the catalogue {folder} is damaged: {found[0]}{more}. `copydetect catalog verify` "
            "names all; `copydetect catalog rollback` goes back to the night before"
        )


def _damage(storage: Storage, folder: str, entry: FileEntry) -> str:
    try:
        with storage.open(runs.join(folder, entry.path)) as stream:
            return _difference(entry, Record.of(stream))
    except (InputError, OSError):
        return _difference(entry, None)


def _difference(entry: FileEntry, found: Record | None) -> str:
    """What is wrong with a file; "" where it is what was written."""
    if found is None:
        return f"{entry.path} is missing"
    if found.size_bytes != entry.size_bytes:
        return f"{entry.path} has {found.size_bytes} bytes instead of {entry.size_bytes}"
    return "" if found.sha256 == entry.sha256 else f"{entry.path} is damaged: its SHA-256 differs"


def part_entries(parts: Sequence[CatalogPart], table: str) -> tuple[FileEntry, ...]:
    """The file of a table of each part; none where a channel is off."""
    return tuple(part.files[table] for part in parts if table in part.files)


def part_uris(folder: str, parts: Sequence[CatalogPart], table: str) -> tuple[str, ...]:
    """Where these files are."""
    return tuple(runs.join(folder, entry.path) for entry in part_entries(parts, table))


def with_files(part: CatalogPart, files: Mapping[str, FileEntry]) -> CatalogPart:
    """The part with other files of some tables."""
    return replace(part, files={**part.files, **files})


def read_part_table(
    storage: Storage,
    folder: str,
    parts: Sequence[CatalogPart],
    table: str,
    schema: pa.Schema,
    columns: list[str] | None = None,
) -> pa.Table:
    """The rows of a table of all parts, by number, or some of its columns; RunError where one is
    damaged."""
    read = [read_entry(storage, folder, entry, columns) for entry in part_entries(parts, table)]
    empty = schema.empty_table()
    return pa.concat_tables(read) if read else empty.select(columns) if columns else empty


def read_entry(
    storage: Storage, folder: str, entry: FileEntry, columns: list[str] | None = None
) -> pa.Table:
    """A table of a catalogue, or some of its columns; RunError where its file is missing or not
    what was written."""
    try:
        data = storage.read(runs.join(folder, entry.path))
    except InputError:
        data = None
    damage = _difference(entry, None if data is None else _record(data))
    if data is None or damage:
        raise RunError(f"the catalogue {folder} is damaged: {damage}")
    return tables.parsed(data, columns)
