"""The search of a night: new images in the whole catalogue, and the catalogue in the new images.

A young catalogue is searched as a whole every night, see `young`: that is what one run over
everything does, and takes seconds. From `YOUNG_IMAGES` on its partitions are frozen, the lists of
what each image is near to are kept, and only what is new is searched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import apache_beam as beam
import numpy as np

from copydetect import runs
from copydetect.candidates.candidate_job import Proposals
from copydetect.candidates.density_steps import DensityScale
from copydetect.catalog.generations import CatalogPart, Generation, part_uris
from copydetect.catalog.grown_index import copy_partition, grown_index, merged_index
from copydetect.catalog.lists import (
    living_neighbors,
    merged_neighbors,
    merged_votes,
    no_votes,
    shortened,
    turned_votes,
)
from copydetect.catalog.ordered import OrderedContents
from copydetect.description.views import VIEW_NAMES
from copydetect.index.building import IndexJob
from copydetect.index.channels import IMAGE_SHIFT, DescriptorReader
from copydetect.index.partitions import IndexOptions, Vectors
from copydetect.index.shards import Index, load_index
from copydetect.parts import RoleParts, RowCounts, Sides
from copydetect.search.neighbors import Neighbors, read_neighbors, write_neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.searching import SearchJob
from copydetect.search.vote_parts import read_votes, write_votes
from copydetect.search.votes import KEPT, Votes
from copydetect.sorted_rows import begins_run
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from copydetect.transforms.keypoints_to_votes import KeypointSearch, KeypointsToVotes
from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors
from copydetect.transforms.waiting import Elements
from copydetect.types import Bools, Ints

from ..chains import Stage
from ..progress import Progress
from ..stages import Workplace
from .job import NightJob
from .sides import side_of
from .young import OrderedSearch, Searched, search_all

YOUNG_IMAGES = 2_000
ORDERED = "ordered"
"""Where a young catalogue is searched, in the folder of the generation."""
_MOST_GONE = 64
"""So many neighbours more are asked for where some may be gone."""


@dataclass(frozen=True)
class NightSearch:
    """The search of one night.

    parts: all of the catalogue; old: how many of them were there before; living: by image_no, which
    contents are there; before: the generation that the night began with.
    """

    job: NightJob
    place: Workplace
    parts: tuple[CatalogPart, ...]
    old: int
    living: Bools
    before: Generation | None
    whole: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether everything is searched anew: it was asked for, or there is little."""
        return self.whole or not self.old or self.is_young

    @property
    def is_young(self) -> bool:
        """Whether there is little."""
        return int(self.living.sum()) <= YOUNG_IMAGES

    @property
    def known_scale(self) -> dict[str, float] | None:
        """What stays as it was measured when everything was searched last, so that pairs of which
        neither image is near to anything new keep their scores."""
        if self.is_whole or self.before is None:
            return None
        return {field.name: self.before.quality[field.name] for field in fields(DensityScale)}

    @property
    def trains(self) -> bool:
        """Whether a search of everything trains the partitions anew."""
        request = self.job.request
        return self.is_young or not (self.before and request.whole) or request.upkeep == "rebuild"

    @cached_property
    def sides(self) -> Sides:
        """All images, as they are searched in themselves."""
        side = side_of(self.job, self.parts)
        return Sides(side, side)

    def searched(self) -> Searched:
        """Search what is to be searched."""
        if self.is_young:
            return self._in_order().searched()
        if self.is_whole:
            for channel in ("descriptors", "keypoints"):
                self._keep_partition(channel)
            proposals = search_all(self.job, self.place, self.sides)
        else:
            proposals = self._grown()
        return Searched(self.place, proposals, proposals.neighbors, proposals.votes)

    def _in_order(self) -> OrderedSearch:
        place = replace(self.place, folder=runs.join(self.place.folder, ORDERED))
        side = self.sides.queries
        order = OrderedContents.write(place.storage, place.folder, side, self.living)
        return OrderedSearch(self.job, order, place, self.place, side.starts)

    def _grown(self) -> Proposals:
        """The lists of all images, brought up to date."""
        settings, side = self.job.settings, self.sides.queries
        neighbors = votes = tuple[str, ...]()
        if side.descriptors:
            options = settings.descriptor_search(symmetric=True)
            grown = _GrownDescriptors(self, settings.descriptor_index, options)
            neighbors = tuple(grown.files(self.job.models.identities["descriptor"]))
        if side.keypoints:
            options = settings.feature_search(symmetric=True)
            votes = tuple(_GrownFeatures(self, settings.feature_index, options).files())
        return Proposals(neighbors, votes, self.sides, VIEW_NAMES)

    def _keep_partition(self, channel: str) -> None:
        """Where a large catalogue is searched as a whole within its era, its lists stay."""
        if self.trains or self.before is None:
            return
        before = runs.join(self.job.catalog, self.before.name, "index", channel)
        if self.place.storage.exists(before):
            folder = runs.join(self.place.index, channel)
            copy_partition(self.place.storage, before, folder)


@dataclass(frozen=True)
class _Grown:
    """One channel of a catalogue whose partition is frozen."""

    search: NightSearch
    index: IndexOptions
    options: SearchOptions

    channel = ""

    @property
    def place(self) -> Workplace:
        return self.search.place

    @cached_property
    def old_side(self) -> RoleParts:
        return side_of(self.search.job, self.search.parts[: self.search.old])

    @cached_property
    def new_side(self) -> RoleParts:
        return side_of(self.search.job, self.search.parts[self.search.old :])

    @property
    def folder(self) -> str:
        """Of the index of everything."""
        return runs.join(self.place.index, self.channel)

    @property
    def new_folder(self) -> str:
        """Of the index of what is new."""
        return runs.join(self.folder, "new")

    @property
    def found(self) -> str:
        """Where what is found goes."""
        return runs.join(self.place.folder, "search", self.channel)

    def lists(self) -> str:
        """Where the lists of all parts go."""
        return runs.join(self.found, "lists")

    def old_lists(self, table: str) -> tuple[str, ...]:
        """The lists that old parts had."""
        search = self.search
        return part_uris(search.job.catalog, search.parts[: search.old], table)

    @property
    def before_folder(self) -> str:
        """Of the index of the night before."""
        before = self.search.before
        assert before is not None
        return runs.join(self.search.job.catalog, before.name, "index", self.channel)

    def grow(self, job: IndexJob | None, parts: Sequence[tuple[int, str]]) -> Index | None:
        """Index what is new, and make the index of everything; that of what is new."""
        storage = self.place.storage
        copy_partition(storage, self.before_folder, self.folder)
        new = None
        if job is not None:
            copy_partition(storage, self.folder, self.new_folder)
            build = DescriptorsToShards(job, processes=self.place.started)
            self.run(f"index {self.channel}", parts, build)
            new = load_index(storage, self.new_folder)
        grown_index(storage, load_index(storage, self.before_folder), new, self.folder)
        merged_index(storage, self.folder)
        return new

    def run(
        self, name: str, parts: Sequence[tuple[int, str]], transform: beam.PTransform[Any, Any]
    ) -> None:
        """A stage of some parts."""
        stage = Stage(
            name,
            lambda start: start | "parts" >> Elements(parts) | transform,
            None,
            Progress(name),
        )
        self.place.run(stage, len(parts))


class _GrownDescriptors(_Grown):
    """Descriptors: exact, old images are searched among the new ones."""

    channel = "descriptors"

    def files(self, model: str) -> list[str]:
        """The lists of all parts, brought up to date."""
        storage, living = self.place.storage, self.search.living
        new, old = (DescriptorReader(storage, side) for side in (self.new_side, self.old_side))
        count = sum(RowCounts(storage, new.uris))
        job = IndexJob(storage, self.new_folder, new, count, self.index, model) if count else None
        index = self.grow(job, new.numbered())
        more = replace(self.options, k=self.options.k + min(_MOST_GONE, int((~living).sum())))
        of_new = [
            merged_neighbors([living_neighbors(read_neighbors(storage, uri), living)], self.options)
            for uri in self._search("new", new, self.folder, more)
        ]
        among = self._search("old", old, self.new_folder, self.options) if index else []
        of_old = self._old_lists(old, among, more)
        written = []
        for part, neighbors in enumerate([*of_old, *of_new]):
            uri = runs.join(self.lists(), runs.part_name(part, "spill"))
            write_neighbors(storage, uri, neighbors)
            written.append(uri)
        return written

    def _old_lists(
        self, reader: DescriptorReader, among: Sequence[str], more: SearchOptions
    ) -> list[Neighbors]:
        """The lists of old parts: what was on them and is there, and what is new; those that run
        short are searched again."""
        storage, living = self.place.storage, self.search.living
        before = [read_neighbors(storage, uri) for uri in self.old_lists("neighbors")]
        left = [living_neighbors(one, living) for one in before]
        short = np.concatenate(
            [np.empty(0, np.int64)]
            + [shortened(a, b, self.options) for a, b in zip(before, left, strict=True)]
        )
        again: list[Neighbors | None] = [None] * len(left)
        if len(short):
            read = partial(_some, reader, short)
            found = self._search("again", reader, self.folder, more, read)
            again = [living_neighbors(read_neighbors(storage, uri), living) for uri in found]
        lists = []
        for part, one in enumerate(left):
            pieces = [one] if again[part] is None else [_without(one, short), again[part]]
            if among:
                pieces.append(living_neighbors(read_neighbors(storage, among[part]), living))
            lists.append(merged_neighbors([_unique(pieces)], self.options))
        return lists

    def _search(
        self,
        name: str,
        reader: DescriptorReader,
        index: str,
        options: SearchOptions,
        read: Callable[[str], tuple[Vectors, Ints]] | None = None,
    ) -> list[str]:
        job = SearchJob(
            self.place.storage, runs.join(self.found, name), read or reader, index, options
        )
        search = ShardsToNeighbors(job, processes=self.place.started)
        self.run(f"search {name} {self.channel}", reader.numbered(), search)
        return self.place.files(job.folder, "neighbors")


class _GrownFeatures(_Grown):
    """Local features: what is new is searched, and its votes count for both images."""

    channel = "keypoints"

    def files(self) -> list[str]:
        """The votes of all parts, brought up to date."""
        storage, living = self.place.storage, self.search.living
        side = self.new_side
        parts = list(enumerate(side.keypoints))
        job = KeypointSearch(
            storage,
            Sides(side, side),
            self.new_folder,
            self.found,
            self.index,
            self.options,
            family_distance=self.search.job.settings.family_distance(symmetric=True),
        )
        features = any(RowCounts(storage, side.keypoints))
        self.grow(job.index_job() if features else None, parts)
        of_new = [no_votes() for _ in parts]
        if features:
            in_all = replace(
                job, index_folder=self.folder, index_is_there=True, routed=self.new_folder
            )
            self.run("search new keypoints", parts, KeypointsToVotes(in_all, self.place.started))
            of_new = [read_votes(storage, uri) for uri in self.place.files(self.found, "votes")]
        lists = [
            merged_votes([read_votes(storage, uri), *self._turned(of_new, number)], living, KEPT)
            for number, uri in enumerate(self.old_lists("votes"))
        ]
        lists += [merged_votes([votes], living, KEPT) for votes in of_new]
        written = []
        for part, votes in enumerate(lists):
            uri = runs.join(self.lists(), runs.part_name(part, "npz"))
            write_votes(storage, uri, votes)
            written.append(uri)
        return written

    def _turned(self, of_new: Sequence[Votes], part: int) -> list[Votes]:
        one = self.search.parts[part]
        return [turned_votes(votes, one.start, one.start + one.rows) for votes in of_new]


def _some(reader: DescriptorReader, images: Ints, uri: str) -> tuple[Vectors, Ints]:
    """The vectors of some images of a part."""
    vectors, ids = reader(uri)
    chosen = np.isin(ids >> IMAGE_SHIFT, images)
    return vectors[chosen], ids[chosen]


def _without(neighbors: Neighbors, images: Ints) -> Neighbors:
    kept = ~np.isin(neighbors.queries >> IMAGE_SHIFT, images)
    return neighbors.take(kept)


def _unique(lists: Sequence[Neighbors | None]) -> Neighbors:
    """All of several lists, each neighbour of a query once."""
    joined = Neighbors.joined([one for one in lists if one is not None])
    ordered = joined.take(np.lexsort((joined.ids, joined.queries)))
    return ordered.take(begins_run(ordered.queries, ordered.ids))
