"""The stages of a run: the input, the output and the progress of each."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import apache_beam as beam

from copydetect import runs
from copydetect.candidates.candidate_job import Proposals
from copydetect.candidates.fusion import CandidateOptions
from copydetect.errors import InputError
from copydetect.grouping.group_job import GroupJob, batches_of
from copydetect.images.decoding import DecodeOptions
from copydetect.inputs.listed_files import ListingFiles, read_listed
from copydetect.inputs.sources import Sources
from copydetect.parts import (
    PART,
    PartNames,
    RoleParts,
    RowCounts,
    Sides,
    note_counts,
    note_rows,
    part_count,
    row_counts,
    unfinished,
)
from copydetect.run_folder import RunFolder
from copydetect.search.neighbors import neighbors_uris
from copydetect.search.vote_parts import votes_uris
from copydetect.storage.files import Storage
from copydetect.summary import PLURAL
from copydetect.transforms.candidates_to_matches import CandidatesToMatches, MatchWork
from copydetect.transforms.copies_to_histories import CopiesToHistories
from copydetect.transforms.descriptors_to_neighbors import DescriptorSearch, DescriptorsToNeighbors
from copydetect.transforms.images_to_refs import ImagesToListing, PiecesToListing, file_count
from copydetect.transforms.keypoints_to_votes import KeypointSearch, KeypointsToVotes
from copydetect.transforms.matches_to_groups import MatchesToGroups
from copydetect.transforms.neighbors_to_candidates import NeighborsToCandidates
from copydetect.transforms.on_one_worker import InTurn
from copydetect.transforms.refs_to_descriptions import (
    DescriberSetup,
    RefsToDescriptions,
)
from copydetect.transforms.waiting import Elements, Then
from copydetect.types import ImageRef, Role
from copydetect.verification.match_parts import VerifyOptions
from copydetect.workers.processes import Processes

from .chains import Stage
from .engine import FEW_PARTS, Engine
from .progress import Progress
from .unfinished import MANY_PARTS, looking_for_unfinished

PARTS_WORTH_PROCESSES = 64
"""Parts of a collection of about 1,000 images. A process that was not forked at the start takes
1.5 s of CPU to import what a stage needs (`time python -c "import
copydetect.verification.match_parts"`), and then loads its models, so processes are started only for
work of many seconds. One image is described in 27 ms, one pair verified in 9
(`.github/FIGURES.md`)."""

_CANDIDATES = "candidates"
_LISTED_HERE, _BYTES_LISTED_HERE = 2048, 1 << 30
"""Files, and their bytes, that are hashed sooner than a job begins."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class Listing:
    """The listed images of one role: how many, a digest of their content, and the listing files.

    renamed: how many image_ids repeated and got the name of their shard or folder in front;
    example: one of them.
    """

    role: Role
    images: int
    digest: str
    uris: Sequence[str]
    renamed: int = 0
    example: str = ""


class NoImagesError(InputError):
    """An input in which there are no images."""


@dataclass(frozen=True)
class Workplace(RunFolder):
    """Where a job works: the folder of the run, and the engine.

    asks: the folder of finished indexes that queries of this place search, "" for its own indexes.
    """

    engine: Engine
    asks: str = ""

    @property
    def index(self) -> str:
        """The folder of the indexes."""
        return self.asks or super().index

    @property
    def index_is_there(self) -> bool:
        return bool(self.asks)

    def unfinished(self, parts: Sequence[Sequence[str]], failures: Sequence[str] = ()) -> set[int]:
        """As `parts.unfinished`."""
        return unfinished(self.storage, parts, failures)

    def unfinished_of(
        self, tables: Sequence[Sequence[str]], failures: Sequence[str] = ()
    ) -> set[int]:
        """The same for the files of some tables, one per part each; of many parts an engine's
        workers tell."""
        if self.engine.is_local or len(tables[0]) < MANY_PARTS:
            return self.unfinished(list(zip(*tables, strict=True)), failures)
        looking = looking_for_unfinished(self.storage, self.folder, tables, failures)
        return set(json.loads(self.storage.read(self.run(looking, len(tables[0])))))

    def run(self, stage: Stage[Made], parts: int) -> Made:
        """Run one stage, of so many parts, as a job of its own; what it makes."""
        self.engine.run_stages(stage.name, [stage], parts)
        return stage.made

    def rows(self, uris: Sequence[str]) -> int:
        """How many rows some part files have together."""
        return sum(row_counts(self.storage, uris))

    def progress(
        self,
        label: str,
        uris: Sequence[str],
        total: Callable[[], int] | int = 0,
        unit: str = "images",
    ) -> Progress:
        """The progress of a stage: the share of its files that are written."""
        return Progress(label, partial(share_written, self.storage, uris), total, unit)

    @property
    def started(self) -> Processes:
        """The processes, where they are there already; else none."""
        processes = self.engine.processes
        return processes if processes.started else Processes()

    def processes(self, parts: int, worth: int = PARTS_WORTH_PROCESSES) -> Processes:
        """Processes, where they are there already or so many parts are worth the seconds that
        starting them takes."""
        processes = self.engine.processes
        return processes if processes.started or parts >= worth else Processes()

    def decoding(self, parts: int) -> Processes:
        """For what decodes pictures, one of which may end its process: on an engine each worker has
        children for it."""
        if self.engine.is_local:
            return self.processes(parts)
        return Processes(of_worker=True)

    def is_small(self, sides: Sides) -> bool:
        """Whether an engine would take longer to spread the search of so few images over workers
        than one of them takes for it."""
        return not self.engine.is_local and max(side.parts for side in sides) <= FEW_PARTS

    def together(self, stages: Sequence[Stage[Any]], sides: Sides) -> list[Stage[Any]]:
        """Stages of little work, which one worker does where there are few images."""
        return [replace(stage, alone=self.is_small(sides)) for stage in stages]

    def files(self, *folder: str) -> list[str]:
        """The files of a folder, in the order of their parts."""
        uris = (file.uri for file in self.storage.files_under(runs.join(*folder)))
        # By number: part-100000 comes after part-99999.
        return sorted(uris, key=lambda uri: (len(uri), uri))


def list_images(place: Workplace, sources: Sources, role: Role) -> Listing:
    """List an input and hash its images; NoImagesError where there are none."""
    return list_roles(place, {role: sources})[0]


def list_roles(place: Workplace, inputs: Mapping[Role, Sources]) -> list[Listing]:
    """List inputs and hash their images, in one job, or here where a job would only take longer;
    NoImagesError where one has none."""
    found = [_list(place, sources, role) for role, sources in inputs.items()]
    if _are_few(list(inputs.values())):
        for sources, stage in zip(inputs.values(), found, strict=True):
            lister = PiecesToListing(place.storage, stage.made)
            pieces = InTurn([None, *enumerate(sources.pieces)])
            place.engine.run_here(stage, partial(operator.or_, pieces, lister))
    else:
        place.engine.run_stages("list", found)
    listed = zip(inputs.values(), found, strict=True)
    return [_listing(place, sources, stage.made) for sources, stage in listed]


def _are_few(inputs: Sequence[Sources]) -> bool:
    pieces = (piece for sources in inputs for piece in sources.pieces)
    return (
        sum(sources.file_count for sources in inputs) <= _LISTED_HERE
        and sum(sources.bytes for sources in inputs) <= _BYTES_LISTED_HERE
        and all(piece.kind == "files" for piece in pieces)
    )


def _list(place: Workplace, sources: Sources, role: Role) -> Stage[ListingFiles]:
    files = ListingFiles(place.folder, role, file_count(sources))
    transform = ImagesToListing(place.storage, sources, files, place.started)
    name = f"list {PLURAL[role]}"
    progress = place.progress(name, files.first, sources.file_count, "files")
    return Stage(name, lambda start: start.pipeline | transform, files, progress)


def _listing(place: Workplace, sources: Sources, files: ListingFiles) -> Listing:
    listed = read_listed(place.storage, place.folder, files.role)
    if not listed.images:
        raise NoImagesError(f"{sources.named} holds no images")
    files = replace(files, renamed=frozenset(listed.files or ()))
    told = listed.renamed, listed.example
    return Listing(files.role, listed.images, listed.digest, files, *told)


def describe(place: Workplace, listing: Listing, setup: DescriberSetup) -> Stage[RoleParts]:
    """Describe the listed images, part by part; parts that are done stay."""
    # Processes cannot share another device with this one.
    on_cpu = setup.device == "cpu"
    parts = part_count(listing.images)
    processes = place.decoding(parts) if on_cpu else Processes()
    uris = place.part_uris("images", listing.role, parts)
    made = [place.part_uris(table, listing.role, parts) for table in setup.tables]
    failures = place.part_uris("failures", listing.role, parts)
    # Later stages use all parts as they are, so that failures are not tried again half way.
    retried = failures if not place.storage.exists(place.index) else ()
    is_new = not place.storage.exists(place.folder)
    described = place.described(listing.role, parts, setup.channels)
    transform = RefsToDescriptions(
        place.storage,
        setup.of(listing.role),
        listing.role,
        place.folder,
        parts,
        range(parts) if is_new else place.unfinished_of(made, retried),
        processes,
    )
    name = f"describe {PLURAL[listing.role]}"
    return Stage(
        name,
        lambda start: start | "listing" >> Elements(listing.uris) | transform,
        described,
        place.progress(name, uris, listing.images),
        in_threads=not on_cpu,
        then=partial(note_counts, place.storage, described),
    )


def described_by(
    place: Workplace, listings: Sequence[Listing], setup: DescriberSetup
) -> dict[Role, RoleParts]:
    """The files of the described images of each role."""
    return {
        one.role: place.described(one.role, part_count(one.images), setup.channels)
        for one in listings
    }


def search_descriptors(place: Workplace, search: DescriptorSearch) -> Stage[Sequence[str]]:
    """Index the descriptors of the references and search them; neighbours files, by part."""
    parts = search.sides.queries.parts
    transform = DescriptorsToNeighbors(search, place.processes(parts))
    return _search(place, "search descriptors", transform, neighbors_uris(search.folder, parts))


def search_keypoints(place: Workplace, search: KeypointSearch) -> Stage[Sequence[str]]:
    """Index the local features of the references, search them and vote; votes files, by part."""
    parts = search.sides.queries.parts
    transform = KeypointsToVotes(search, place.processes(parts))
    return _search(place, "search keypoints", transform, votes_uris(search.folder, parts))


def _search(
    place: Workplace, name: str, transform: beam.PTransform[Any, Any], uris: Sequence[str]
) -> Stage[Sequence[str]]:
    return Stage(name, lambda start: start | transform, uris, place.progress(name, uris))


def propose(
    place: Workplace,
    proposals: Proposals,
    options: CandidateOptions,
    scale: Mapping[str, float] | None = None,
) -> Stage[Sequence[str]]:
    """Merge what both channels found; the candidates tables, by part of the queries."""
    job = place.candidate_job(proposals, options, scale)
    parts = range(len(proposals.queries.image_files))
    merge = NeighborsToCandidates(job, place.processes(len(parts)))
    uris = PartNames(job.folder, PART, len(parts))
    return Stage(
        _CANDIDATES,
        lambda start: start | "parts" >> Elements(parts) | merge,
        uris,
        place.progress(_CANDIDATES, uris),
        then=partial(note_rows, place.storage, uris, place.counts_uri(_CANDIDATES), _CANDIDATES),
    )


def verify(
    place: Workplace, sides: Sides, candidates: Sequence[str], options: VerifyOptions
) -> Stage[Sequence[str]]:
    """Verify candidates, part by part; the matches tables. Parts that are done stay."""
    parts = len(candidates)
    uris, failures = (place.parts_of(table, parts) for table in ("matches", "verify-failures"))
    # Workers get the folder alone: what the engine holds stays where the run was started.
    work = partial(RunFolder(place.storage, place.folder).match_work, candidates)
    processes = place.decoding(parts)
    transform = CandidatesToMatches(place.storage, sides, options, place.folder, processes)
    wanted = Then(_unfinished, place.storage, work, uris, failures)
    noted = place.counts_uri(_CANDIDATES)
    total = partial(sum, RowCounts(place.storage, candidates, noted, _CANDIDATES))
    return Stage(
        "verify",
        lambda start: start | "candidates" >> wanted | transform,
        uris,
        place.progress("verify", uris, total, "pairs"),
    )


def group(place: Workplace, sides: Sides, job: GroupJob) -> Stage[GroupJob]:
    """Group the verified pairs; the job names the files."""
    transform = MatchesToGroups(job, sides, place.processes(len(job.matches)))
    return Stage("group", lambda start: start | transform, job, Progress("group"))


def read_histories(
    place: Workplace, refs: Sequence[ImageRef], decoding: DecodeOptions
) -> Stage[list[str]]:
    """Read what the files of copies say of their past; the histories tables, by part."""
    folder = runs.join(place.folder, "histories")
    work = list(enumerate(batches_of(refs)))
    uris = [runs.join(folder, runs.part_name(number)) for number, _ in work]
    wanted = place.unfinished([[uri] for uri in uris])
    todo = [one for one in work if one[0] in wanted]
    processes = place.started if place.engine.is_local else place.decoding(len(work))
    transform = CopiesToHistories(place.storage, folder, decoding, processes)
    return Stage(
        "file histories",
        lambda start: start | "copies" >> Elements(todo) | transform,
        uris,
        place.progress("file histories", uris, len(refs)),
    )


def _unfinished(
    storage: Storage,
    work: Callable[[], Sequence[MatchWork]],
    uris: Sequence[str],
    failures: Sequence[str],
) -> list[MatchWork]:
    wanted = unfinished(storage, list(zip(uris, failures, strict=True)), failures)
    return [one for one in work() if one[0] in wanted]


def share_written(storage: Storage, uris: Sequence[str]) -> float:
    """The share of some files that exist, 0 … 1."""
    return storage.count(uris) / max(len(uris), 1)
