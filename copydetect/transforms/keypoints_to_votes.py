"""Local features → votes: the features of the references are indexed, and those of the queries and
of their mirror images searched in the index."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect import runs
from copydetect.description.keypoints import load_quantiser
from copydetect.index.building import IndexJob
from copydetect.index.channels import KeypointReader
from copydetect.index.partitions import IndexOptions
from copydetect.parts import FeatureCount, Sides
from copydetect.run_folder import RunFolder
from copydetect.search.queries import SearchOptions
from copydetect.search.searching import SearchJob
from copydetect.settings import Settings
from copydetect.storage.files import Storage
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from copydetect.transforms.neighbors_to_votes import NeighborsToVotes, VoteJob
from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors
from copydetect.transforms.waiting import Elements, WaitThen
from copydetect.workers.processes import Processes


@dataclass(frozen=True)
class KeypointSearch:
    """A search of local features. index_folder, folder: of the index, and of the results;
    index_is_there: whether it is finished already; routed: then that of another one, of the same
    partition, which was made of the queries; "" for none; family_distance: as of `votes.vote`.
    """

    storage: Storage
    sides: Sides
    index_folder: str
    folder: str
    index: IndexOptions
    options: SearchOptions
    index_is_there: bool = False
    routed: str = ""
    family_distance: float = 0.0

    @classmethod
    def of(cls, place: RunFolder, sides: Sides, settings: Settings) -> KeypointSearch:
        """That of a run, in its folder."""
        return cls(
            storage=place.storage,
            sides=sides,
            index_folder=runs.join(place.index, "keypoints"),
            folder=place.searched("keypoints"),
            index=settings.feature_index,
            options=settings.feature_search(sides.symmetric),
            index_is_there=place.index_is_there,
            family_distance=settings.family_distance(sides.symmetric),
        )

    def index_job(self) -> IndexJob:
        """How the index is built."""
        quantiser, references = load_quantiser(), self.sides.references
        return IndexJob(
            storage=self.storage,
            folder=self.index_folder,
            read=KeypointReader(self.storage, references),
            vectors=FeatureCount(self.storage, references.keypoints, references.noted),
            options=self.index,
            model=quantiser.identity,
            codebook=quantiser.centroids,
            self_probes=self.index.probes if self.sides.symmetric else 0,
            parts=references.parts,
        )

    def vote_job(self) -> VoteJob:
        """How neighbours become votes."""
        return VoteJob(
            storage=self.storage,
            files=self.sides.queries,
            exclude_self=self.sides.symmetric,
            family_distance=self.family_distance,
            folder=self.folder,
        )

    def search_job(self) -> SearchJob:
        """How the index is searched: for features and those of mirror images at once, so that each
        list is decoded once for both."""
        made_here = self.sides.symmetric and not self.index_is_there
        return SearchJob(
            self.storage,
            self.folder,
            KeypointReader(self.storage, self.sides.queries, both=True),
            self.index_folder,
            self.options,
            self.index_folder if made_here else self.routed,
            parts=self.sides.queries.parts,
            rounds=1,
        )


@dataclass(eq=False, repr=False)
class KeypointsToVotes(beam.PTransform[Any, Any]):
    """None, once the local features exist → the URIs of votes files, and None."""

    search: KeypointSearch
    processes: Processes = field(default_factory=Processes)

    def expand(self, start: PCollection[Any]) -> PCollection[str]:
        search, processes = self.search, self.processes
        if not search.index_is_there:
            start = (
                start
                | "references" >> Elements(list(enumerate(search.sides.references.keypoints)))
                | "index" >> DescriptorsToShards(search.index_job(), processes)
            )
        queries = search.sides.queries
        votes: PCollection[str] = (
            start
            | "queries" >> WaitThen(enumerate, queries.keypoints)
            | "search" >> ShardsToNeighbors(search.search_job(), processes)
            | "parts" >> WaitThen(range, queries.parts)
            | "vote" >> NeighborsToVotes(search.vote_job(), processes)
        )
        return votes
