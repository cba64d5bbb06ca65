"""One night: new images are described, searched in the whole catalogue, verified, and added to it.

    listing → plan: what is new, changed, moved, gone → parts of what is new → candidates of all
    → verdicts on pairs that have none → groups that are touched → a generation → the pointer

All is written into the folder of a new generation, and nobody sees it before the pointer moves. A
night that was ended finds there what it had finished, as long as it is the same night.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from copydetect import runs, tables
from copydetect.catalog.compaction import merged_parts
from copydetect.catalog.decisions import DECISIONS, joined_decisions
from copydetect.catalog.files import (
    FILES,
    CatalogFile,
    Ledger,
    NightPlan,
    forgotten,
    key_of,
    plan_night,
    standing_files,
)
from copydetect.catalog.generations import (
    MANIFEST,
    CatalogPart,
    Generation,
    Upgrade,
    generation_name,
    read_part_table,
    refuse_damaged,
)
from copydetect.catalog.packing import BESIDE, GenerationWriter, gap, pack_night, rewritten
from copydetect.catalog.pointer import CatalogLease, Pointer, leased, load_generation, move_pointer
from copydetect.catalog.upgrades import upgraded_parts
from copydetect.errors import InputError, TooManyFailuresError
from copydetect.inputs.listing import LISTING, ListedImage
from copydetect.parts import part_count
from copydetect.transforms.refs_to_descriptions import DescriberSetup
from copydetect.types import Failure

from .. import stages
from ..stages import Listing, Workplace
from .job import NightJob
from .listing import listed_images
from .results import results_of
from .search import ORDERED
from .touched import Results
from .verdicts import verified_pairs

_NIGHT = "night.json"
_LISTING, _DESCRIBED = "listing", "described.json"
_SCRATCH = (
    _LISTING,
    "described",
    "described-beside",
    ORDERED,
    "search",
    "candidates",
    "pairs",
    "verified",
    "verified-spare",
    "verified-again",
    "compared",
    "looked",
    *(f"index/{n}/{made}" for n in ("descriptors", "keypoints") for made in ("sample", "vectors")),
)


@dataclass(frozen=True)
class Night:
    """The outcome of a night.

    generation: the last one of the catalogue now; committed: whether this night made it; plan: what
    was found; failed: how many of the files that were new could not be used.
    """

    generation: Generation
    committed: bool
    plan: NightPlan
    failed: int = 0


def run_night(job: NightJob) -> Night:
    """Work on everything that is new, and commit it.

    CatalogBusyError where another process is at work on the catalogue; RunError where it is
    damaged; TooManyFailuresError, with nothing committed, where too much of what is new, or all of
    it, could not be used.
    """
    with leased(job.catalog) as lease:
        pointer = Pointer.load(job.storage, job.catalog)
        before = load_generation(job.storage, job.catalog)
        if before is not None:
            refuse_damaged(job.storage, job.catalog, before.entries())
        tonight = _Tonight.of(job, pointer, before)
        plan = tonight.plan
        if plan.is_empty and not tonight.has_request:
            if before is None:
                raise InputError(f"there is no image to begin the catalogue {job.catalog} with")
            return Night(before, False, plan)
        generation, failed = tonight.work()
        return _commit(job, lease, pointer, Night(generation, True, plan, failed))


def _commit(job: NightJob, lease: CatalogLease, pointer: Pointer | None, night: Night) -> Night:
    """Write the manifest, move the pointer, remove what only the night needed."""
    generation = night.generation
    folder = runs.join(job.catalog, generation.name)
    job.storage.write(runs.join(folder, MANIFEST), generation.to_json())
    move_pointer(job.storage, job.catalog, lease, pointer, generation)
    for name in _SCRATCH:
        job.storage.delete(runs.join(folder, name))
    return night


@dataclass(frozen=True)
class _Tonight:
    """A night at work: the state before it, and its steps."""

    job: NightJob
    before: Generation | None
    number: int
    start: int
    ledger: Ledger
    plan: NightPlan
    high: Pointer | None

    @classmethod
    def of(cls, job: NightJob, pointer: Pointer | None, before: Generation | None) -> _Tonight:
        number = pointer.highest + 1 if pointer else 1
        start = pointer.numbers if pointer else 0
        parts = before.parts if before else ()
        ledger = Ledger.of(read_part_table(job.storage, job.catalog, parts, "files", FILES))
        listed, stamps = listed_images(job, ledger)
        gone = (*job.request.remove, *job.request.forget)
        plan = plan_night(ledger, listed, stamps, gone, start, number)
        return cls(job, before, number, start, ledger, plan, pointer)

    @property
    def has_request(self) -> bool:
        """Whether there is something to do although nothing is new or gone."""
        wished = bool(self.job.request.upkeep or self.to_forget)
        return wished or not self.decisions.equals(self.decisions_before)

    @property
    def to_forget(self) -> list[int]:
        """Numbers of images that are to be forgotten, those that were removed before too."""
        names = set(self.job.request.forget)
        return [number for number, file in self.ledger.files.items() if file.image_id in names]

    @property
    def decisions_before(self) -> pa.Table:
        """What people had decided before tonight."""
        entries = self.before.tables.get("decisions", ()) if self.before else ()
        return self.writer.read(entries[0]) if entries else DECISIONS.empty_table()

    @property
    def decisions(self) -> pa.Table:
        """What people have decided by now."""
        return joined_decisions(self.decisions_before, self.job.request.decisions)

    @property
    def folder(self) -> str:
        """The folder of the new generation."""
        return runs.join(self.job.catalog, generation_name(self.number))

    @property
    def place(self) -> Workplace:
        """Where its stages work."""
        return Workplace(self.job.storage, self.folder, self.job.engine)

    @property
    def writer(self) -> GenerationWriter:
        """Where its tables are written."""
        return GenerationWriter(self.job.storage, self.job.catalog, self.folder)

    def work(self) -> tuple[Generation, int]:
        """Do everything but the commit; returns the generation, and how many new files failed."""
        self._refuse_other_night()
        described = self._describe()
        parts = self._new_parts(described)
        added = Ledger.of(self._table(parts, "files", FILES)).files
        failed = [file for file in added.values() if file.status in ("failed", "again")]
        self._refuse_too_many(len(failed), sum(file.status != "unused" for file in added.values()))
        files = {**self._old_files(), **added}
        old = self._old_parts(files)
        if self._upgrade_ends:
            old = upgraded_parts(self.writer, old, self._upgrade_ends)
        if self.job.request.upkeep:
            old = merged_parts(self.writer, old)
        everything = (*old, *parts)
        found = verified_pairs(self.job, self.place, self.writer, everything, files, self.before)
        failures = self._failures(described, files)
        results = Results(
            self.job,
            self.place,
            self.writer,
            self.before,
            self.plan,
            failures,
            self.decisions_before,
            self.decisions,
        )
        generation = results_of(results, self._generation(found.parts), found, files)
        return generation, len(failed)

    def _generation(self, parts: tuple[CatalogPart, ...]) -> Generation:
        known = self.high or Pointer(0, "", "", 0, 0, 0, 0, 0)
        era = self.before.era if self.before else self.job.era(1)
        if self.job.request.upkeep == "rebuild":
            era = self.job.era(era.number + 1)
        under_way = self.before.upgrade if self.before else None
        return Generation(
            number=self.number,
            parent=self.before.number if self.before else 0,
            created=now_after(self.before),
            era=era,
            numbers=parts[-1].start + parts[-1].rows,
            group_ids=known.group_ids,
            events=known.events,
            parts=parts,
            upgrade=None if self._upgrade_ends else under_way,
        )

    @property
    def _upgrade_ends(self) -> Upgrade | None:
        """The upgrade to another model that ends tonight."""
        rebuilds = self.job.request.upkeep == "rebuild"
        return self.before.upgrade if self.before and rebuilds else None

    def _refuse_other_night(self) -> None:
        """Remove what another night has left in the folder."""
        storage, uri = self.job.storage, runs.join(self.folder, _NIGHT)
        parent = self.before.number if self.before else 0
        request = [self.job.request.upkeep, self.job.request.forget, self.decisions.to_pylist()]
        settings = self.job.era(0).settings
        digest = json.dumps([self.plan.digest(), parent, settings, request]).encode()
        if not (storage.is_whole(uri) and storage.read(uri) == digest):
            storage.delete(self.folder)
            storage.write(uri, digest)

    def _describe(self) -> dict[str, list[str]]:
        """Describe new contents; the files of each table, by the parts of the night."""
        if not self.plan.new:
            return {}
        models = self.job.models
        described = self._described_with(models.setup, "described")
        if models.beside:
            beside = self._described_with(models.beside, "described-beside")
            described[BESIDE] = beside["descriptors"]
        return described

    def _described_with(self, setup: DescriberSetup, name: str) -> dict[str, list[str]]:
        """name: of the folder for this."""
        place = replace(self.place, folder=runs.join(self.folder, name))
        listed = [
            ListedImage(key_of(f.number), "image", f.uri, f.member, f.sha256, f.bytes)
            for f in self.plan.new
        ]
        uri = runs.join(place.folder, f"{_LISTING}.parquet")
        tables.write_rows(self.job.storage, uri, listed, LISTING)
        listing = Listing("image", len(listed), self.plan.digest(), (uri,))
        describing = stages.describe(place, listing, setup)
        described = place.run(describing, part_count(len(listed)))
        # What comes later is made of these: a night that continues does not try failures again.
        self.job.storage.write(runs.join(place.index, _DESCRIBED), b"{}")
        return {name: list(uris) for name, uris in described.tables.items()}

    def _new_parts(self, described: dict[str, list[str]]) -> tuple[CatalogPart, ...]:
        """The parts of what gets a number tonight, after numbers that a rolled back night gave."""
        old = self.before.parts if self.before else ()
        like = old[-1] if old else None
        end = old[-1].start + old[-1].rows if old else 0
        parts = [gap(self.writer, end, self.start - end, like)] if end < self.start else []
        if self.plan.added:
            wanted = {name: uris for name, uris in described.items() if name != "failures"}
            again = {
                row["image_id"] for row in self._described_failures(described) if row["retryable"]
            }
            parts += pack_night(self.writer, wanted, self.plan.added, self.start, again, like)
        return tuple(parts)

    def _old_files(self) -> dict[int, CatalogFile]:
        """The files that the catalogue knew, as they are now."""
        files = dict(self.ledger.files)
        for number in self.plan.removed:
            files[number] = replace(files[number], status="removed", removed=self.number)
        for number in self.to_forget:
            files[number] = forgotten(replace(files[number], removed=self.number))
        for file in self.plan.replaced:
            if files[file.number].status == "ok":
                files[file.number] = file
        return files

    def _old_parts(self, files: dict[int, CatalogFile]) -> list[CatalogPart]:
        """The parts that were there: those with files that are gone or moved written anew."""
        standing = standing_files(files.values())
        numbers = [
            *self.plan.removed,
            *self.to_forget,
            *(file.number for file in self.plan.replaced),
        ]
        known = self.ledger.files
        affected = {one for number in numbers for one in (number, known[number].content)}
        return [
            rewritten(self.writer, part, files, standing)
            if any(part.start <= number < part.start + part.rows for number in affected)
            else part
            for part in (self.before.parts if self.before else ())
        ]

    def _refuse_too_many(self, failed: int, added: int) -> None:
        """TooManyFailuresError where more of what is new failed than may, or all of it."""
        allowed = self.job.options.max_failed_fraction
        if failed and (failed > allowed * added or failed == added):
            raise TooManyFailuresError(
                f"{failed:,} of {added:,} new images failed, more than max_failed_fraction "
                f"{allowed:g} allows: nothing was committed, the catalogue is as it was"
            )

    def _described_failures(self, described: dict[str, list[str]]) -> list[dict[str, Any]]:
        table = tables.read_tables(self.job.storage, described.get("failures", ()), tables.FAILURES)
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    def _failures(
        self, described: dict[str, list[str]], files: dict[int, CatalogFile]
    ) -> list[Failure]:
        """What of the new files failed, by what it is called."""
        found = [
            Failure(**{**row, "image_id": files[int(row["image_id"])].image_id})
            for row in self._described_failures(described)
        ]
        for file, image in self.plan.failed:
            why = (image.error_type, image.message, image.retryable)
            found.append(replace(image.failure("list", *why), image_id=file.image_id))
        return found

    def _table(self, parts: tuple[CatalogPart, ...], name: str, schema: pa.Schema) -> pa.Table:
        return read_part_table(self.job.storage, self.job.catalog, parts, name, schema)


def now_after(before: Generation | None) -> str:
    """The time, never before that of an earlier generation: a clock may run backwards."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return max(now, before.created) if before else now
