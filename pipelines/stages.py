"""The stages that `dedup` and `match` share; each is one Beam pipeline from files to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import apache_beam as beam
import pyarrow.compute as pc
from loky import cpu_count
from pyarrow import parquet

from copydetect import runs, tables
from copydetect.candidates.candidate_job import CandidateJob, Proposals
from copydetect.candidates.densities import DensityOptions
from copydetect.candidates.fusion import CandidateOptions
from copydetect.errors import InputError
from copydetect.images.decoding import DecodeOptions
from copydetect.index.building import IndexJob
from copydetect.index.channels import DescriptorReader
from copydetect.index.partitions import IndexOptions
from copydetect.inputs.listing import DIGESTED, content_digest
from copydetect.inputs.repeated_ids import tell_apart
from copydetect.inputs.sources import Sources
from copydetect.options import Channel
from copydetect.parts import RoleParts, RowCounts, Sides, feature_count, part_count, part_uri
from copydetect.search.queries import SearchOptions
from copydetect.search.searching import SearchJob
from copydetect.search.votes import VoteOptions
from copydetect.storage.files import Storage
from copydetect.summary import PLURAL
from copydetect.transforms.candidates_to_matches import CandidatesToMatches
from copydetect.transforms.copies_to_histories import CopiesToHistories, HistoryWork
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from copydetect.transforms.images_to_refs import ImagesToRefs, listing_uri
from copydetect.transforms.keypoints_to_votes import KeypointSearch, KeypointsToVotes
from copydetect.transforms.neighbors_to_candidates import NeighborsToCandidates
from copydetect.transforms.refs_to_descriptions import (
    DescriberSetup,
    RefsToDescriptions,
)
from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors
from copydetect.types import ImageRef, Role
from copydetect.verification.match_parts import VerifyOptions
from copydetect.workers.processes import Processes

from .engine import Engine

# A process that was not forked at the start takes 1.5 s of CPU to import what a stage needs
# (`time python -c "import copydetect.verification.match_parts"`), and then loads its models. So
# processes are started for work of 7 s of CPU and more. One image is described in 27 ms, one pair
# verified in 9 (`.github/FIGURES.md`), 400,000 features searched in 18 s, and the past of one copy
# looked up in 35 ms.
_IMAGES_WORTH_PROCESSES = 1_000
_FEATURES_WORTH_PROCESSES = 200_000
PAIRS_WORTH_PROCESSES = 4_000
"""Candidates; a fifth of them is verified."""
_COPIES_WORTH_PROCESSES = 200
_COPIES_TOGETHER = 64


@dataclass(frozen=True)
class Listing:
    """The images of one role: how many, a digest of their content, and the listing files.

    renamed: how many image_ids repeated and got the name of their shard or folder in front;
    example: one of them.
    """

    role: Role
    images: int
    digest: str
    uris: tuple[str, ...]
    renamed: int = 0
    example: str = ""


@dataclass(frozen=True)
class Workplace:
    """Where a job works: its engine, its storage, and the folder of the run.

    asks: the folder of finished indexes that queries of this place ask, "" for its own indexes.
    """

    engine: Engine
    storage: Storage
    folder: str
    asks: str = ""

    def part_uris(self, table: str, role: Role, parts: int) -> tuple[str, ...]:
        """The files of a table, one per part."""
        return tuple(part_uri(self.folder, table, role, part) for part in range(parts))

    def described(self, role: Role, parts: int, channels: Sequence[Channel]) -> RoleParts:
        """The files of a role whose images are described, and how many rows they have."""
        images = self.part_uris("images", role, parts)
        return RoleParts(
            image_files=images,
            image_counts=tuple(RowCounts(self.storage, images)),
            descriptors=self.part_uris("descriptors", role, parts)
            if "descriptor" in channels
            else (),
            keypoints=self.part_uris("keypoints", role, parts) if "local" in channels else (),
            failures=self.part_uris("failures", role, parts),
        )

    def part_uri(self, table: str, part: int) -> str:
        """The file of one part of a table that has no roles."""
        return runs.join(self.folder, table, runs.part_name(part))

    @property
    def index(self) -> str:
        """The folder of the indexes."""
        return self.asks or runs.join(self.folder, "index")

    def unfinished(self, parts: Sequence[Sequence[str]], failures: Sequence[str] = ()) -> set[int]:
        """The numbers of parts that are to be made, or made again.

        parts: the files of each, of which none may be missing or damaged; failures: where these,
        one per part, name one that another try may help, the part is made again.
        """
        with ThreadPoolExecutor(cpu_count()) as pool:
            whole = list(pool.map(self._is_whole, parts))
            wanted = {part for part, is_whole in enumerate(whole) if not is_whole}
            retried = [part for part in range(len(failures)) if part not in wanted]
            found = pool.map(self.has_retryable, (failures[part] for part in retried))
            return wanted | {part for part, again in zip(retried, found, strict=True) if again}

    def _is_whole(self, uris: Sequence[str]) -> bool:
        # The one that is written last goes first: it is missing where nothing has been done yet.
        return all(map(self.storage.is_whole, uris))

    def has_retryable(self, uri: str) -> bool:
        """Whether a table of failures names one that another try may help."""
        table = tables.read_table(self.storage, uri, ["retryable"])
        return bool(pc.any(table["retryable"]).as_py())

    def rows(self, uri: str) -> int:
        """How many rows a part file has."""
        with self.storage.open(uri) as file:
            return int(parquet.read_metadata(file).num_rows)

    def done(self, uris: Sequence[str], total: int) -> int:
        """How much of `total` is done when some of the files of a stage are written."""
        return sum(map(self.storage.exists, uris)) * total // max(len(uris), 1)

    @property
    def started(self) -> Processes:
        """The processes, where they are there already; else none."""
        processes = self.engine.processes
        return processes if processes.started else Processes()

    def processes(self, work: int, worth: int) -> Processes:
        """Processes, where they are there already or the work is worth the seconds that starting
        them takes."""
        processes = self.engine.processes
        return processes if processes.started or work >= worth else Processes()

    def files(self, *folder: str) -> list[str]:
        """The files of a folder, in the order of their parts."""
        uris = (file.uri for file in self.storage.files_under(runs.join(*folder)))
        # By number: part-100000 comes after part-99999.
        return sorted(uris, key=lambda uri: (len(uri), uri))


def list_images(place: Workplace, sources: Sources, role: Role) -> Listing:
    """List an input and hash its images; InputError where there are none, or ids repeat."""
    uris = [listing_uri(place.folder, role, piece) for piece in range(len(sources.pieces))]
    transform = ImagesToRefs(place.storage, sources, role, place.folder, place.started)
    place.engine.run(
        f"list {PLURAL[role]}",
        lambda pipeline: pipeline | transform,
        total=sources.file_count,
        unit="files",
        done=lambda: place.done(uris, sources.file_count),
    )
    images = sum(map(place.rows, uris))
    if not images:
        raise InputError(f"{sources.named} holds no images")
    renamed, example = tell_apart(place.storage, uris)
    batches = (tables.read_batches(place.storage, uri, DIGESTED) for uri in uris)
    digest = content_digest(chain.from_iterable(batches))
    return Listing(role, images, digest, tuple(uris), renamed, example)


def describe(place: Workplace, listing: Listing, setup: DescriberSetup) -> RoleParts:
    """Describe the listed images, part by part; parts that are done stay."""
    # Processes cannot share another device with this one.
    on_cpu = setup.device == "cpu"
    processes = place.processes(listing.images, _IMAGES_WORTH_PROCESSES) if on_cpu else Processes()
    parts = part_count(listing.images)
    uris = place.part_uris("images", listing.role, parts)
    made = [place.part_uris(table, listing.role, parts) for table in setup.tables]
    failures = place.part_uris("failures", listing.role, parts)
    # Later stages use all parts as they are, so that failures are not tried again half way.
    retried = failures if not place.storage.exists(place.index) else ()
    wanted = place.unfinished(list(zip(*made, strict=True)), retried)
    transform = RefsToDescriptions(
        place.storage,
        setup.of(listing.role),
        listing.role,
        place.folder,
        parts,
        wanted,
        processes,
    )
    place.engine.run(
        f"describe {PLURAL[listing.role]}",
        lambda pipeline: pipeline | beam.Create(listing.uris) | transform,
        total=listing.images,
        done=lambda: place.done(uris, listing.images),
        threads=not on_cpu,
    )
    return place.described(listing.role, parts, setup.channels)


def search_descriptors(
    place: Workplace, sides: Sides, index: IndexOptions, options: SearchOptions, model: str
) -> list[str]:
    """Index the descriptors of the references and search them; neighbours files, by part."""
    folder = runs.join(place.index, "descriptors")
    asked, searched = (DescriptorReader(place.storage, side) for side in sides)
    vectors = sum(RowCounts(place.storage, searched.uris))
    if not vectors:
        return []
    index_job = IndexJob(place.storage, folder, searched, vectors, index, model)
    found = runs.join(place.folder, "search", "descriptors")
    search_job = SearchJob(place.storage, found, asked, folder, options)

    def build(pipeline: beam.Pipeline) -> None:
        built = None
        if not place.asks:
            built = (
                pipeline
                | "references" >> beam.Create(searched.numbered(), reshuffle=False)
                | DescriptorsToShards(index_job, processes=place.started)
            )
        _ = (
            pipeline
            | "queries" >> beam.Create(asked.numbered(), reshuffle=False)
            | ShardsToNeighbors(search_job, built, place.started)
        )

    place.engine.run("search descriptors", build)
    return place.files(found, "neighbors")


def search_keypoints(
    place: Workplace,
    sides: Sides,
    index: IndexOptions,
    options: SearchOptions,
    voting: VoteOptions,
) -> list[str]:
    """Index the local features of the references, search them and vote; votes files, by part."""
    queries, references = (list(enumerate(side.keypoints)) for side in sides)
    features = feature_count(place.storage, sides.references.keypoints)
    if not features:
        return []
    folder = runs.join(place.folder, "search", "keypoints")
    job = KeypointSearch(
        storage=place.storage,
        sides=sides,
        index_folder=runs.join(place.index, "keypoints"),
        folder=folder,
        index=index,
        options=options,
        index_is_there=bool(place.asks),
        voting=voting,
    )
    vote = KeypointsToVotes(job, place.processes(features, _FEATURES_WORTH_PROCESSES))
    place.engine.run(
        "search keypoints",
        lambda pipeline: (
            (
                pipeline | "references" >> beam.Create(references, reshuffle=False),
                pipeline | "queries" >> beam.Create(queries, reshuffle=False),
            )
            | vote
        ),
    )
    return place.files(folder, "votes")


def candidate_job(
    place: Workplace,
    proposals: Proposals,
    options: CandidateOptions,
    density: DensityOptions,
    scale: Mapping[str, float] | None = None,
) -> CandidateJob:
    """What is merged, and where, in the folder of a run."""
    return CandidateJob(
        storage=place.storage,
        proposals=proposals,
        options=options,
        density=density,
        folder=runs.join(place.folder, "candidates"),
        pairs_folder=runs.join(place.folder, "pairs"),
        scratch=runs.join(place.folder, "search", "candidates"),
        scale=scale,
    )


def propose(
    place: Workplace,
    proposals: Proposals,
    options: CandidateOptions,
    density: DensityOptions,
    scale: Mapping[str, float] | None = None,
) -> list[str]:
    """Merge what both channels found; the candidates tables, by part of the queries."""
    job = candidate_job(place, proposals, options, density, scale)
    parts = range(len(proposals.queries.image_files))
    merge = NeighborsToCandidates(job, place.started)
    place.engine.run("candidates", lambda p: p | beam.Create(parts, reshuffle=False) | merge)
    return [runs.join(job.folder, runs.part_name(part)) for part in parts]


def verify(
    place: Workplace, sides: Sides, candidates: Sequence[str], options: VerifyOptions
) -> list[str]:
    """Verify candidates, part by part; the matches tables. Parts that are done stay."""
    work = [
        (part, uri, runs.join(place.folder, "pairs", runs.part_name(part, "npz")))
        for part, uri in enumerate(candidates)
    ]
    uris = [place.part_uri("matches", part) for part, _, _ in work]
    failures = [place.part_uri("verify-failures", part) for part, _, _ in work]
    wanted = place.unfinished(list(zip(uris, failures, strict=True)), failures)
    todo = [one for one in work if one[0] in wanted]
    pairs = sum(place.rows(uri) for uri in candidates)
    processes = place.processes(pairs, PAIRS_WORTH_PROCESSES)
    transform = CandidatesToMatches(place.storage, sides, options, place.folder, processes)
    place.engine.run(
        "verify",
        lambda pipeline: pipeline | beam.Create(todo, reshuffle=False) | transform,
        total=pairs,
        unit="pairs",
        done=lambda: place.done(uris, pairs),
    )
    return uris


def look_back(place: Workplace, refs: Sequence[ImageRef], decoding: DecodeOptions) -> list[str]:
    """Read what the files of copies say of their past; the histories tables, by part."""
    folder = runs.join(place.folder, "histories")
    work: list[HistoryWork] = [
        (number, list(refs[start : start + _COPIES_TOGETHER]))
        for number, start in enumerate(range(0, len(refs), _COPIES_TOGETHER))
    ]
    uris = [runs.join(folder, runs.part_name(number)) for number, _ in work]
    wanted = place.unfinished([[uri] for uri in uris])
    todo = [one for one in work if one[0] in wanted]
    processes = place.processes(len(refs), _COPIES_WORTH_PROCESSES)
    transform = CopiesToHistories(place.storage, folder, decoding, processes)
    place.engine.run(
        "look back",
        lambda pipeline: pipeline | beam.Create(todo, reshuffle=False) | transform,
        total=len(refs),
        done=lambda: place.done(uris, len(refs)),
    )
    return uris
