"""Images → groups of copies, as one transform in somebody's own pipeline.

`copydetect dedup` runs its stages one after the other, and decides between them by what the stage
before has found. Here all stages are steps of one graph, each of which waits for all of the one
before. What depends on the size of the collection is decided on workers, once it is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsIter, PBegin, PCollection

from copydetect import runs, tables
from copydetect.candidates.candidate_job import CandidateJob, Proposals
from copydetect.candidates.densities import DensityOptions
from copydetect.description.views import VIEW_NAMES
from copydetect.errors import OptionError
from copydetect.grouping.comparisons import spare_candidates, write_comparisons
from copydetect.grouping.groups import (
    COMPARISONS,
    GroupOptions,
    group_copies,
    images_to_look_at,
    pairs_to_compare,
    pairs_to_connect,
)
from copydetect.grouping.histories import histories_of
from copydetect.grouping.involved import involved
from copydetect.grouping.places import groups_table
from copydetect.index.building import IndexJob
from copydetect.index.channels import DescriptorReader, stored_keypoints
from copydetect.inputs.finding import find_sources
from copydetect.inputs.given import Inputs, specs_of
from copydetect.options import RunOptions
from copydetect.parts import RoleParts, RowCounts, Sides, part_uri
from copydetect.search.searching import SearchJob
from copydetect.settings import Settings
from copydetect.storage.files import Storage
from copydetect.storage.remote import BeamStorage
from copydetect.transforms.candidates_to_matches import CandidatesToMatches, MatchWork
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from copydetect.transforms.images_to_refs import ImagesToRefs
from copydetect.transforms.keypoints_to_votes import KeypointSearch, KeypointsToVotes
from copydetect.transforms.neighbors_to_candidates import NeighborsToCandidates
from copydetect.transforms.refs_to_descriptions import (
    DescriberSetup,
    RefsToDescriptions,
)
from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors
from copydetect.types import Candidate
from copydetect.verification.match_parts import PairImages, VerifyOptions, verify_part
from copydetect.verification.whole_families import PartFiles, judge_families

_PARTS = 16
_CONNECTED = "connected"
_COMPARED = tuple(f"compared-{number}" for number in range(COMPARISONS))


class DedupImages(beam.PTransform[Any, Any]):
    """The start of a pipeline → {"matches", "groups", "failures"}: collections of rows.

    Rows are dictionaries, with the columns of the tables of these names. The decisions are those of
    `copydetect.dedup` with the same options and `check=False`: one graph plants no copies.
    """

    def __init__(
        self,
        photos: Inputs,
        folder: str,
        options: RunOptions | None = None,
        parts: int = _PARTS,
    ) -> None:
        """photos: as for `copydetect.dedup`; folder: new or empty, where the stages leave files, on
        storage that all workers reach; parts: into how many the collection is cut, which is how
        many workers can share it; a part should have at most some thousand images.

        InputError, OptionError or ModelError where an argument is wrong. image_ids must not repeat.
        """
        super().__init__()
        if parts < 1:
            raise OptionError(f"parts is {parts}; it must be at least 1")
        options = options or RunOptions()
        self._storage = BeamStorage(row_copies=runs.join(folder, "listing", "rows"))
        self._folder = folder
        self._settings = Settings.of(options, "dedup", self._storage)
        specs = specs_of(self._storage, folder, "image", photos)
        self._sources = find_sources(self._storage, specs, options.exclude)
        channels = self._settings.channels
        self._setup = DescriberSetup(
            self._settings.describing,
            self._settings.model if "descriptor" in channels else None,
            self._settings.background,
            options.device,
            "local" in channels,
            options.trust_model,
        )
        self._setup.load()
        self._parts = parts

    def expand(self, begin: PBegin) -> dict[str, PCollection[Any]]:
        place = _Place(self._storage, self._folder, self._parts, self._settings)
        listing = runs.join(self._folder, "listing")
        described = (
            begin
            | "list" >> ImagesToRefs(self._storage, self._sources, "image", listing)
            | "describe"
            >> RefsToDescriptions(
                self._storage, self._setup, "image", self._folder, self._parts, range(self._parts)
            )
        )
        found: list[PCollection[Any]] = []
        if "descriptor" in self._settings.channels:
            found.append(_search_descriptors(place, described))
        if "local" in self._settings.channels:
            found.append(_search_keypoints(place, described))
        proposed = _once_done(
            found, "searched", list(range(self._parts))
        ) | "candidates" >> NeighborsToCandidates(place.candidate_job())
        matches = _once_done([proposed], "proposed", place.match_work()) | "verify" >> (
            CandidatesToMatches(
                self._storage, place.sides, self._settings.verification, self._folder
            )
        )
        grouped = _once_done([matches], "verified", [place]) | "group" >> beam.Map(_group)
        return {
            name: grouped
            | f"files of {name}" >> beam.FlatMap(partial(_files, place, name))
            | f"spread {name}" >> beam.Reshuffle()
            | f"rows of {name}" >> beam.FlatMap(partial(_rows, self._storage))
            for name in ("matches", "groups", "failures")
        }


@dataclass(frozen=True)
class _Place:
    """Where the files of all stages are."""

    storage: Storage
    folder: str
    parts: int
    settings: Settings

    def uris(self, table: str) -> tuple[str, ...]:
        """The parts of a table of described images."""
        return tuple(part_uri(self.folder, table, "image", part) for part in range(self.parts))

    def numbered(self, *names: str, suffix: str = "parquet") -> tuple[str, ...]:
        """The parts of what comes after."""
        folder = runs.join(self.folder, *names)
        return tuple(runs.join(folder, runs.part_name(n, suffix)) for n in range(self.parts))

    @property
    def sides(self) -> Sides:
        """The collection, searched for itself; rows are counted once they are there."""
        images, channels = self.uris("images"), self.settings.channels
        described = RoleParts(
            images,
            RowCounts(self.storage, images),
            self.uris("descriptors") if "descriptor" in channels else (),
            self.uris("keypoints") if "local" in channels else (),
            self.uris("failures"),
        )
        return Sides(described, described)

    def candidate_job(self) -> CandidateJob:
        """What is merged."""
        channels, search = self.settings.channels, "search"
        neighbors = self.numbered(search, "descriptors", "neighbors", suffix="spill")
        votes = self.numbered(search, "keypoints", "votes", suffix="npz")
        proposals = Proposals(
            neighbors=neighbors if "descriptor" in channels else (),
            votes=votes if "local" in channels else (),
            sides=self.sides,
            views=VIEW_NAMES,
        )
        return CandidateJob(
            storage=self.storage,
            proposals=proposals,
            options=self.settings.candidates,
            density=DensityOptions(),
            folder=runs.join(self.folder, "candidates"),
            pairs_folder=runs.join(self.folder, "pairs"),
            scratch=runs.join(self.folder, search, "candidates"),
        )

    def match_work(self) -> list[MatchWork]:
        """What is verified."""
        pairs = self.numbered("pairs", suffix="npz")
        return list(zip(range(self.parts), self.numbered("candidates"), pairs, strict=True))

    def table_uris(self, name: str) -> tuple[str, ...]:
        """The files of a table of results."""
        if name == "failures":
            later = self._later("verify-failures")
            return (*self.uris("failures"), *self.numbered("verify-failures"), *later)
        if name == "matches":
            return (*self.numbered("judged"), *self._later("matches"))
        return (self.groups_uri,)

    def _later(self, name: str) -> list[str]:
        return [self.compared_uri(compared, name) for compared in (_CONNECTED, *_COMPARED)]

    def compared_uri(self, compared: str, name: str) -> str:
        """The file of what comparing pairs gives that were left out at first."""
        return runs.join(self.folder, compared, name, runs.part_name(0))

    @property
    def groups_uri(self) -> str:
        """The file of all groups."""
        return runs.join(self.folder, "groups", runs.part_name(0))


def _once_done(
    done: Sequence[PCollection[Any]], stage: str, elements: Sequence[Any]
) -> PCollection[Any]:
    """`elements`, once everything is there that a stage gives."""
    waited: PCollection[Any] = (
        done[0].pipeline
        | f"when {stage}" >> beam.Create([None])
        | f"{stage}" >> beam.FlatMap(_elements, elements, *map(AsIter, done))
        | f"spread what is {stage}" >> beam.Reshuffle()
    )
    return waited


def _elements(_: None, elements: Sequence[Any], *done: Iterable[Any]) -> Sequence[Any]:
    for one in done:
        list(one)
    return elements


def _search_descriptors(place: _Place, described: PCollection[int]) -> PCollection[Any]:
    files, settings = place.sides.queries, place.settings
    folder = runs.join(place.folder, "index", "descriptors")
    read = DescriptorReader(place.storage, files)
    vectors: Callable[[], int] = partial(sum, RowCounts(place.storage, files.descriptors))
    index = IndexJob(place.storage, folder, read, vectors, settings.descriptor_index)
    search = SearchJob(
        place.storage,
        runs.join(place.folder, "search", "descriptors"),
        read,
        folder,
        settings.descriptor_search(symmetric=True),
    )
    parts = _once_done([described], "described", read.numbered())
    built = parts | "index descriptors" >> DescriptorsToShards(index)
    found: PCollection[Any] = parts | "search descriptors" >> ShardsToNeighbors(search, built)
    return found


def _search_keypoints(place: _Place, described: PCollection[int]) -> PCollection[Any]:
    settings = place.settings
    search = KeypointSearch(
        storage=place.storage,
        sides=place.sides,
        index_folder=runs.join(place.folder, "index", "keypoints"),
        folder=runs.join(place.folder, "search", "keypoints"),
        index=settings.feature_index,
        options=settings.feature_search(symmetric=True),
        voting=settings.voting(symmetric=True),
    )
    parts = _once_done([described], "detected", list(enumerate(place.uris("keypoints"))))
    votes: PCollection[Any] = (parts, parts) | "search keypoints" >> KeypointsToVotes(search)
    return votes


def _group(place: _Place) -> None:
    """Group all verified pairs; only edges and rows of copies are held."""
    storage, settings = place.storage, place.settings
    verifying = settings.verification.for_collection(place.sides.queries.images)
    opened = _opened(place, verifying)
    spare = spare_candidates(storage, place.numbered("candidates"))
    failures = tables.read_tables(
        storage, place.uris("failures") + place.numbered("verify-failures"), tables.FAILURES
    )
    images, matches = involved(
        lambda: (tables.read_table(storage, uri) for uri in place.uris("images")),
        _judge_families(place, verifying, opened),
        spare,
    )
    options = GroupOptions(keep=settings.keeping, neighbors=settings.k)
    unreadable = failures["image_id"].to_pylist()

    def compare(name: str, pairs: Sequence[Candidate]) -> pa.Table:
        folder = runs.join(place.folder, "search", name)
        work = [files[1:] for files in write_comparisons(storage, folder, pairs, images)]
        verified = [verify_part(storage, *files, (opened, opened), verifying) for files in work]
        failed = [tables.FAILURES.empty_table(), *(one.failures for one in verified)]
        found = [tables.MATCHES.empty_table(), *(one.matches for one in verified)]
        for table, made in (("matches", found), ("verify-failures", failed)):
            uri = place.compared_uri(name, table)
            tables.write_table(storage, uri, pa.concat_tables(made))
        unreadable.extend(pa.concat_tables(failed)["image_id"].to_pylist())
        return pa.concat_tables(found)

    pairs = pairs_to_connect(images, matches, spare, options, unreadable) if len(spare) else []
    matches = pa.concat_tables([matches, compare(_CONNECTED, pairs)])
    histories = histories_of(storage, images_to_look_at(images, matches), settings.decoding)
    more = tables.MATCHES.empty_table()
    for name in _COMPARED:
        pairs = pairs_to_compare(images, matches, options, histories, unreadable, spare, more)
        more = pa.concat_tables([more, compare(name, pairs)])
    members = group_copies(images, matches, options, histories, unreadable, spare, more)
    tables.write_table(storage, place.groups_uri, groups_table(members, images))


def _opened(place: _Place, options: VerifyOptions) -> PairImages:
    storage, side = place.storage, place.sides.queries
    return PairImages(storage, side.numbers(storage), options, stored_keypoints(storage, side))


def _judge_families(place: _Place, options: VerifyOptions, opened: PairImages) -> pa.Table:
    """All matches with what families say of their pairs; written, too, by part."""
    storage = place.storage
    files = place.numbered("candidates"), place.numbered("pairs", suffix="npz")
    work = [
        PartFiles(part, *uris)
        for part, uris in enumerate(zip(*files, place.numbered("matches"), strict=True))
    ]

    def verify(_: str, todo: list[PartFiles], told: VerifyOptions) -> list[pa.Table]:
        images = opened, opened
        return [
            verify_part(storage, one.candidates, one.pairs, images, told).matches for one in todo
        ]

    scratch = runs.join(place.folder, "search", "families")
    judged = judge_families(storage, scratch, work, options, verify)
    found = []
    for one, uri in zip(work, place.numbered("judged"), strict=True):
        found.append(judged.get(one.part, tables.read_table(storage, one.matches)))
        tables.write_table(storage, uri, found[-1])
    return pa.concat_tables(found)


def _files(place: _Place, name: str, _: None) -> tuple[str, ...]:
    return place.table_uris(name)


def _rows(storage: Storage, uri: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tables.read_table(storage, uri).to_pylist()
    return rows
