"""From listed images to groups of copies: the stages of a run, in as few jobs as there can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from copydetect.candidates.candidate_job import Proposals
from copydetect.candidates.densities import DensityOptions
from copydetect.grouping.group_job import GroupJob
from copydetect.parts import RoleParts, Sides
from copydetect.runs import Manifest
from copydetect.search.recall_job import RecallJob
from copydetect.self_check import SelfCheck
from copydetect.settings import Settings
from copydetect.types import Role
from copydetect.verification.match_parts import VerifyOptions

from . import stages
from .chains import Stage
from .lost_copies import judging_lost, lost_copies
from .search_stages import measuring, quality_of, recall_jobs, searching
from .self_check import CheckedRun, may_be_checked, self_check
from .stages import Listing, Workplace
from .totals import RunTotals, TotalsJob, count_totals, read_totals

if TYPE_CHECKING:
    from .job import Job


def search_and_verify(
    job: Job, place: Workplace, folder: str, listings: Sequence[Listing]
) -> Manifest:
    """Describe what is listed, search, verify and group; the manifest that names all tables.

    All of it is one job, but where planted copies are to set the threshold first: then what comes
    before them is one, and what comes after. So it is for a large collection on an engine in any
    case: the graph of a longer job is too deep for the stack with which Flink's servers start.
    """
    settings, search = job.settings, _Search.of(job, place, listings)
    run = partial(place.engine.run_stages, parts=max(side.parts for side in search.sides))
    before, verifying = search.stages, settings.verification
    check = None
    planted = settings.check and may_be_checked(listings[-1].images)
    searched_first = planted or not (place.engine.is_local or place.is_small(search.sides))
    if searched_first:
        run("search", before)
        before = []
    if planted:
        check = _checked(job, place, search.sides)
        verifying = verifying.reporting_from(check.threshold)
    matches = stages.verify(place, search.sides, search.candidates, verifying)
    lost = judging_lost(place, search.sides, search.candidates, search.recalls, verifying)
    grouped = _group(place, search.sides, settings, verifying)
    counting = _totals(place, search, matches.made, [stage.made for stage in grouped])
    light = place.together([*lost, *grouped], search.sides)
    verified: list[Stage[Any]] = [*before, matches, *light]
    *first, last = verified
    last = replace(last, then=partial(count_totals, counting))
    run("verify" if searched_first else "search and verify", [*first, last])
    if settings.check and not planted:
        check = _checked(job, place, search.sides)
    totals = read_totals(place.storage, place.folder)
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
        candidates = stages.propose(place, proposals, settings.candidates, DensityOptions())
        recalls = recall_jobs(place, settings, sides)
        light = [*searches, *measuring(place, recalls), candidates]
        chain = [*describing, *place.together(light, sides)]
        return cls(chain, described, sides, proposals, recalls, candidates.made)


def _checked(job: Job, place: Workplace, sides: Sides) -> SelfCheck:
    """Plant copies in the references, search them, and set the threshold by what is found."""
    parts = job.settings, job.setup, job.models, sides.references, sides.symmetric
    return self_check(CheckedRun(place, job.output, *parts))


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
