"""From listed images to groups of copies: the stages of a run, in as few jobs as there can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from copydetect.candidates.candidate_job import Proposals
from copydetect.grouping.group_job import GroupJob
from copydetect.parts import RoleParts, Sides
from copydetect.runs import Manifest
from copydetect.search.recall_job import RecallJob
from copydetect.settings import Settings
from copydetect.types import Role
from copydetect.verification.match_parts import VerifyOptions

from . import stages
from .chains import Stage
from .lost_copies import judging_lost, lost_copies
from .search_stages import measuring, quality_of, recall_jobs, searching
from .self_check import (
    CheckedRun,
    checking,
    may_be_checked,
    noted_threshold,
    read_noted,
    self_check,
)
from .stages import Listing, Workplace
from .totals import RunTotals, TotalsJob, count_totals, read_totals

if TYPE_CHECKING:
    from .job import Job


def search_and_verify(
    job: Job, place: Workplace, folder: str, listings: Sequence[Listing]
) -> Manifest:
    """Describe what is listed, search, verify and group; the manifest that names all tables.

    All of it is one job. But where planted copies set the threshold, and one worker would take too
    long for them, they are a job of their own, between two others. A large collection on an engine
    is two jobs even without them: the graph of a longer one is too deep for the stack with which
    Flink's servers start.
    """
    search, storage = _Search.of(job, place, listings), place.storage
    sides = search.sides
    small = place.is_small(sides)
    run = partial(place.engine.run_stages, parts=max(side.parts for side in sides))
    before, verifying, check = search.stages, job.settings.verification, None
    checked = search.checked(job, place)
    planted = job.settings.check and may_be_checked(listings[-1].images)
    noted = checking(checked) if planted and small else None
    if noted:
        before = [*before, noted]
        verifying = replace(verifying, threshold=partial(noted_threshold, storage, noted.made))
    elif planted or not (place.engine.is_local or small):
        run("search", before)
        before = []
    if planted and not noted:
        check = self_check(checked)
        verifying = verifying.reporting_from(check.threshold)
    after, counting = _verified(job, place, search, verifying)
    run("search and verify" if before else "verify", [*before, *after])
    if noted:
        check = read_noted(storage, noted.made)
    elif job.settings.check and not planted:
        check = self_check(checked)
    totals = read_totals(storage, place.folder)
    files = counting.all_files().items()
    relative = {name: [uri[len(job.output) + 1 :] for uri in found] for name, found in files}
    return Manifest(
        command=job.command,
        folder=folder,
        settings=job.decisive,
        tables=relative,
        counts=totals.rows,
        seconds=dict(job.engine.seconds),
        quality=_quality(place, search, totals),
        check=check,
        removable_bytes=totals.removable_bytes,
    )


def _verified(
    job: Job, place: Workplace, search: _Search, verifying: VerifyOptions
) -> tuple[list[Stage[Any]], TotalsJob]:
    """The stages that verify and group, and what is counted once they are done."""
    matches = stages.verify(place, search.sides, search.candidates, verifying)
    lost = judging_lost(place, search.sides, search.candidates, search.recalls, verifying)
    grouped = _group(place, search.sides, job.settings, verifying)
    counting = _totals(place, search, matches.made, [stage.made for stage in grouped])
    verified: list[Stage[Any]] = [matches, *place.together([*lost, *grouped], search.sides)]
    *first, last = verified
    return [*first, replace(last, then=partial(count_totals, counting))], counting


@dataclass(frozen=True)
class _Search:
    """The stages before verification, and their results.

    described: by role; recalls: how the search of each kind of vectors is measured, by its name.
    """

    stages: list[Stage[Any]]
    described: dict[Role, RoleParts]
    sides: Sides
    proposals: Proposals
    recalls: dict[str, RecallJob]
    candidates: Sequence[str]

    @classmethod
    def of(cls, job: Job, place: Workplace, listings: Sequence[Listing]) -> _Search:
        """Everything from listed images to candidates."""
        settings = job.settings
        describing = [stages.describe(place, listing, job.setup) for listing in listings]
        described = stages.described_by(place, listings, job.setup)
        sides = Sides(*(described[role] for role in job.roles))
        searches, proposals = searching(place, settings, job.models, sides)
        candidates = stages.propose(place, proposals, settings.candidates)
        recalls = recall_jobs(place, settings, sides)
        light = [*searches, *measuring(place, recalls), candidates]
        chain = [*describing, *place.together(light, sides)]
        return cls(chain, described, sides, proposals, recalls, candidates.made)

    def checked(self, job: Job, place: Workplace) -> CheckedRun:
        """The run as its check sees it."""
        made = job.output, job.settings, job.setup, job.models
        return CheckedRun(place, *made, self.sides, self.candidates)


def _quality(place: Workplace, search: _Search, totals: RunTotals) -> dict[str, float]:
    """What the run measured of its search; whom too many resemble is told as well."""
    quality = quality_of(search.recalls, totals.saturated) | lost_copies(place, search.recalls)
    if totals.capped:
        quality["pairs_capped"] = float(totals.capped)
        place.engine.tell(
            f"some pictures resemble so many others that {totals.capped:,} pairs with them were "
            "ranked on the side of the other one alone"
        )
    return quality


def _totals(
    place: Workplace, search: _Search, matches: Sequence[str], grouped: Sequence[GroupJob]
) -> TotalsJob:
    """What is counted once all is done; the files of all tables before there are groups."""
    uris: dict[str, list[str]] = {}
    for one in search.described.values():
        for name, files in one.tables.items():
            uris[name] = [*uris.get(name, ()), *files]
    uris["failures"] += place.parts_of("verify-failures", len(matches))
    made = {"candidates": search.candidates, "matches": matches, "histories": (), "groups": ()}
    found = search.proposals.neighbors
    group = grouped[0] if grouped else None
    merging = place.merging_folder
    return TotalsJob(
        place.storage, place.folder, uris | made, search.described, found, merging, group
    )


def _group(
    place: Workplace, sides: Sides, settings: Settings, verifying: VerifyOptions
) -> list[Stage[GroupJob]]:
    """The stage that groups a pile; none where queries are searched in references."""
    if not sides.symmetric:
        return []
    return [stages.group(place, sides, place.group_job(sides.references, settings, verifying))]
