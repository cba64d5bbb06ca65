"""The totals of a run, counted on a worker once its tables are there: whoever started the job reads
them from one small file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from loky import cpu_count

from copydetect import runs, tables
from copydetect.candidates.merging import capped_pairs
from copydetect.grouping.group_job import GroupJob
from copydetect.json_values import parse_as
from copydetect.parts import RoleParts, row_counts
from copydetect.search.neighbors import saturated_queries
from copydetect.storage.files import Storage
from copydetect.summary import removable_bytes
from copydetect.types import Role


@dataclass(frozen=True)
class RunTotals:
    """rows: of each table; failed: images of each role that could not be used; saturated: queries
    of descriptors whose lists are full; capped: pairs with images that resemble too many others to
    be scored there, too; removable_bytes: of images that are suggested for removal."""

    rows: dict[str, int]
    failed: dict[Role, int]
    saturated: int
    capped: int
    removable_bytes: int


@dataclass(frozen=True)
class TotalsJob:
    """What is counted.

    files: of the tables before there are groups, by name; described: by role; neighbors: what the
    search of descriptors found; merging: the scratch of the merging; group: the grouping, None
    where there is none.
    """

    storage: Storage
    folder: str
    files: Mapping[str, Sequence[str]]
    described: Mapping[Role, RoleParts]
    neighbors: Sequence[str]
    merging: str
    group: GroupJob | None

    def all_files(self) -> dict[str, Sequence[str]]:
        """The files of all tables, by name, once everything is done."""
        return {**self.files, **(self.group.tables() if self.group else {})}


def count_totals(job: TotalsJob) -> None:
    """Count, and note the totals."""
    files = job.all_files()
    known = {uri for one in job.described.values() for uri in one.failures}
    later = [uri for uri in files["failures"] if uri not in known]
    named = tables.read_tables(job.storage, later, tables.FAILURES, ["role", "image_id"])
    totals = RunTotals(
        rows={name: sum(row_counts(job.storage, uris)) for name, uris in files.items()},
        failed={
            role: _failed(job.storage, one, role, named) for role, one in job.described.items()
        },
        saturated=saturated_queries(job.storage, job.neighbors),
        capped=capped_pairs(job.storage, job.merging, len(files["candidates"])),
        removable_bytes=removable_bytes(
            tables.read_table(job.storage, job.group.groups_uri, ["image_id", "suggested"]),
            tables.read_table(job.storage, job.group.involved_uri("images"), ["image_id", "bytes"]),
        )
        if job.group
        else 0,
    )
    job.storage.write(_uri(job.folder), json.dumps(asdict(totals)).encode())


def read_totals(storage: Storage, folder: str) -> RunTotals:
    """What `count_totals` has noted, until the scratch of the run goes. folder: of the run."""
    return parse_as(RunTotals, storage.read(_uri(folder)))


def _uri(folder: str) -> str:
    return runs.join(folder, "search", "counts", "totals.json")


def _failed(storage: Storage, described: RoleParts, role: Role, later: pa.Table) -> int:
    """How many images of a role could not be used. later: rows of failures after it was
    described."""
    named = later.filter(pc.equal(later["role"], role))["image_id"].combine_chunks()
    with ThreadPoolExecutor(cpu_count()) as pool:
        return sum(pool.map(partial(_unused, storage, named), described.image_files))


def _unused(storage: Storage, named: pa.Array, uri: str) -> int:
    part = tables.read_table(storage, uri, ["image_id", "status"])
    failed = pc.or_(pc.equal(part["status"], "failed"), pc.is_in(part["image_id"], named))
    return pc.sum(failed).as_py() or 0
