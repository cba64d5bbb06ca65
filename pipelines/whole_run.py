"""From listed images to groups of copies: the stages of a run, in as few jobs as there can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from copydetect import runs
from copydetect.candidates.densities import DensityOptions
from copydetect.grouping.group_job import GroupJob
from copydetect.grouping.groups import GroupOptions
from copydetect.parts import RoleParts, Sides
from copydetect.runs import Manifest
from copydetect.self_check import SelfCheck
from copydetect.settings import Settings
from copydetect.types import Role
from copydetect.verification.match_parts import VerifyOptions

from . import stages
from .chains import Stage
from .lost_copies import judging_lost, lost_copies
from .proposals import measuring, quality_of, searching
from .self_check import CheckedRun, self_check
from .stages import Listing, Workplace

if TYPE_CHECKING:
    from .job import Job


def search_and_verify(
    job: Job, place: Workplace, folder: str, listings: Sequence[Listing]
) -> Manifest:
    """Describe what is listed, search, verify and group; the manifest that names all tables.

    All of it is one job, but where planted copies are to set the threshold first: then what comes
    before them is one, and what comes after.
    """
    settings, run = job.settings, place.engine.run_stages
    describing = [stages.describe(place, listing, job.setup) for listing in listings]
    described = {listing.role: one.made for listing, one in zip(listings, describing, strict=True)}
    asked, searched = job.roles
    sides = Sides(described[asked], described[searched])
    searches, proposals = searching(place, settings, job.models, sides)
    candidates = stages.propose(place, proposals, settings.candidates, DensityOptions())
    recalls = measuring(place, settings, sides)
    before = [*describing, *searches, *recalls, candidates]
    verifying, check = settings.verification, None
    if settings.check:
        run("search", before)
        before, check = [], _checked(job, place, sides)
        verifying = verifying.reporting_from(check.threshold)
    matches = stages.verify(place, sides, candidates.made, verifying)
    after: list[Stage[Any]] = [matches]
    after += [
        judging_lost(place, sides, candidates.made, recall.made, verifying)
        for recall in recalls
        if recall.made.finds_images
    ]
    uris = _tables(place, described, candidates.made, matches.made)
    if sides.symmetric:
        grouped = stages.group(place, sides, _group_job(place, uris, settings, verifying))
        after.append(grouped)
    run("verify" if check else "search and verify", [*before, *after])
    if sides.symmetric:
        uris |= grouped.made.tables()
    quality = quality_of(place, settings, proposals)
    for recall in recalls:
        if recall.made.finds_images:
            quality |= lost_copies(place, recall.made)
    relative = {name: [uri[len(job.output) + 1 :] for uri in found] for name, found in uris.items()}
    return Manifest(
        command=job.command,
        folder=folder,
        settings=job.decisive,
        tables=relative,
        counts={name: sum(map(place.rows, found)) for name, found in uris.items()},
        seconds=dict(job.engine.seconds),
        quality=quality,
        check=check,
    )


def _checked(job: Job, place: Workplace, sides: Sides) -> SelfCheck:
    """Plant copies in the references, and see what becomes of them."""
    parts = job.settings, job.setup, job.models, sides.references, sides.symmetric
    return self_check(CheckedRun(place, job.output, *parts))


def _tables(
    place: Workplace, described: Mapping[Role, RoleParts], candidates: list[str], matches: list[str]
) -> dict[str, list[str]]:
    """The files of all tables that there are before groups, by name."""
    uris: dict[str, list[str]] = {}
    for one in described.values():
        for name, files in one.tables.items():
            uris[name] = [*uris.get(name, ()), *files]
    parts = range(len(matches))
    uris["failures"] += [place.part_uri("verify-failures", part) for part in parts]
    return uris | {"candidates": candidates, "matches": matches, "histories": [], "groups": []}


def _group_job(
    place: Workplace, uris: Mapping[str, list[str]], settings: Settings, verifying: VerifyOptions
) -> GroupJob:
    parts = range(len(uris["matches"]))
    pairs = [runs.join(place.folder, "pairs", runs.part_name(part, "npz")) for part in parts]
    return GroupJob(
        storage=place.storage,
        folder=place.folder,
        image_files=tuple(uris["images"]),
        candidates=tuple(uris["candidates"]),
        pairs=tuple(pairs),
        matches=tuple(uris["matches"]),
        failures=tuple(uris["failures"]),
        options=GroupOptions(keep=settings.keeping, neighbors=settings.k),
        decoding=settings.decoding,
        verifying=verifying,
    )
