"""One run's place on disk, and the manifest that is committed last.

    OUT/manifest.json                       names everything below; readers follow only it
    OUT/run-<fingerprint>/<table>/part-NNNNN.parquet
    OUT/report/index.html

The fingerprint is made of the settings and of the content of every input image. So a run that was
interrupted continues in its folder, and a run over other content or settings never mixes with it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from copydetect import __version__, tables
from copydetect.errors import InputError, RunError
from copydetect.json_values import parse_as
from copydetect.self_check import SelfCheck
from copydetect.storage.files import Storage
from copydetect.types import Role

if TYPE_CHECKING:
    from copydetect.storage.leases import BucketLease

MANIFEST = "manifest.json"
_RUN_FOLDER = re.compile(r"run-[0-9a-f]{16}")


def join(base: str, *names: str) -> str:
    """A URI or path below `base`."""
    return "/".join([base.rstrip("/"), *names])


def part_name(part: int, suffix: str = "parquet") -> str:
    """The name of a part file: "part-00012.parquet"."""
    return f"part-{part:05d}.{suffix}"


def run_folder_name(settings: Mapping[str, Any], content_digest: str) -> str:
    """The name of the folder of a run, from its settings and the digest of its input."""
    return run_folder_of(json.dumps([__version__, settings, content_digest], sort_keys=True))


def run_folder_of(identity: str) -> str:
    """The name of the folder of a run, from what tells it from all others."""
    return f"run-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def remove_other_runs(storage: Storage, output: str, kept: str) -> None:
    """Remove the folders of all runs in OUT but one, which is named below it."""
    names = {file.uri[len(output) + 1 :].split("/")[0] for file in storage.files_under(output)}
    for name in sorted(names - {kept}):
        if _RUN_FOLDER.fullmatch(name):
            storage.delete(join(output, name))


@dataclass(frozen=True)
class RoleInput:
    """The input of one role, counted in files.

    named: what the user pointed at; images: how many were listed; failed: how many of these could
    not be used; skipped: files of other kinds, by extension; excluded: files that a glob left out;
    renamed: images whose id repeated and got its shard or folder in front; renamed_example: one.
    """

    named: str
    images: int
    failed: int
    skipped: dict[str, int]
    excluded: int = 0
    renamed: int = 0
    renamed_example: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a finished run left: tables by name (URIs relative to OUT), settings and figures.

    counts: rows and other totals by name; seconds: wall time by stage; quality: measured figures
    such as the recall of the search against exact search; inputs: what was read, by role; accepted:
    whether no more of it failed than was allowed; check: what the run measured on itself, None
    where it was told not to; removable_bytes: of all images that are suggested for removal.
    """

    command: str
    folder: str
    settings: dict[str, Any]
    tables: dict[str, list[str]]
    counts: dict[str, int]
    seconds: dict[str, float]
    quality: dict[str, float] = field(default_factory=dict)
    inputs: dict[Role, RoleInput] = field(default_factory=dict)
    accepted: bool = True
    check: SelfCheck | None = None
    removable_bytes: int = 0
    version: str = __version__

    @staticmethod
    def load(storage: Storage, output: str) -> Manifest:
        """Read OUT/manifest.json; InputError where there is no finished run."""
        uri = join(output, MANIFEST)
        if not storage.exists(uri):
            raise InputError(f"{output} holds no finished run: there is no {MANIFEST} in it")
        try:
            return parse_as(Manifest, storage.read(uri))
        except ValueError as error:
            raise InputError(f"{uri} is not a manifest of copydetect: {error}") from error

    def commit(self, storage: Storage, output: str, lease: BucketLease | None = None) -> None:
        """Make the run visible: write OUT/manifest.json in one step.

        lease: of an OUT that is in a bucket; TransientError where it is lost.
        """
        uri, text = join(output, MANIFEST), json.dumps(asdict(self), indent=2, sort_keys=True)
        if lease is None:
            storage.write(uri, text.encode())
        else:
            lease.write(storage, uri, text.encode())

    def table_uris(self, output: str, name: str) -> list[str]:
        """The part files of one table; none where the run has no such table."""
        return [join(output, uri) for uri in self.tables.get(name, [])]

    def batches(
        self, storage: Storage, output: str, name: str, columns: list[str] | None = None
    ) -> Iterator[pa.Table]:
        """The rows of one table, some at a time, in their order; RunError where a file is missing,
        or in the end where rows have been lost."""
        rows = 0
        try:
            for uri in self.table_uris(output, name):
                for table in tables.read_batches(storage, uri, columns):
                    rows += table.num_rows
                    yield table.select(columns) if columns else table
        except InputError as error:
            raise RunError(f"the run in {output} is damaged: {error}") from error
        self._refuse_other_count(output, name, rows)

    def table(
        self, storage: Storage, output: str, name: str, columns: list[str] | None = None
    ) -> pa.Table:
        """All rows of one table; RunError where a file is missing or rows have been lost."""
        schema = tables.SCHEMAS[name]
        try:
            table = tables.read_tables(storage, self.table_uris(output, name), schema, columns)
        except InputError as error:
            raise RunError(f"the run in {output} is damaged: {error}") from error
        self._refuse_other_count(output, name, table.num_rows)
        return table

    def _refuse_other_count(self, output: str, name: str, rows: int) -> None:
        if rows != self.counts[name]:
            raise RunError(
                f"{output}: table {name} has {rows} rows, its manifest says {self.counts[name]}"
            )
