"""Local features → votes: an index of the references' features, asked with the queries' features
and with those of their mirror images."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect import runs
from copydetect.description.keypoints import load_quantiser
from copydetect.index.building import IndexJob
from copydetect.index.channels import KeypointReader
from copydetect.index.partitions import IndexOptions
from copydetect.index.routing import Part
from copydetect.parts import Sides, feature_count
from copydetect.search.queries import SearchOptions
from copydetect.search.searching import SearchJob
from copydetect.search.votes import VoteOptions
from copydetect.storage.files import Storage
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from copydetect.transforms.neighbors_to_votes import NeighborsToVotes
from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors
from copydetect.workers.processes import Processes


@dataclass(frozen=True)
class KeypointSearch:
    """What is searched in what, and where.

    index_folder, folder: of the index, and of what is found; index_is_there: whether it is finished
    already.
    """

    storage: Storage
    sides: Sides
    index_folder: str
    folder: str
    index: IndexOptions
    options: SearchOptions
    index_is_there: bool = False
    voting: VoteOptions = field(default_factory=VoteOptions)

    @property
    def symmetric(self) -> bool:
        """Whether a collection is searched for itself."""
        return self.sides.symmetric

    def index_job(self) -> IndexJob:
        """What the index is made of."""
        quantiser, references = load_quantiser(), self.sides.references
        return IndexJob(
            storage=self.storage,
            folder=self.index_folder,
            read=KeypointReader(self.storage, references),
            vectors=partial(feature_count, self.storage, references.keypoints),
            options=self.index,
            model=quantiser.identity,
            codebook=quantiser.centroids,
            self_probes=self.index.probes if self.symmetric else 0,
        )

    def search_job(self, mirrored: bool) -> SearchJob:
        """What the index is asked."""
        return SearchJob(
            self.storage,
            runs.join(self.folder, "mirrored" if mirrored else "upright"),
            KeypointReader(self.storage, self.sides.queries, mirrored),
            self.index_folder,
            self.options,
            same_parts=self.symmetric and not mirrored,
        )


class KeypointsToVotes(beam.PTransform[Any, Any]):
    """One element, once local features are there → the URIs of votes files."""

    def __init__(self, search: KeypointSearch, processes: Processes | None = None) -> None:
        super().__init__()
        self._search = search
        self._processes = processes or Processes()

    def expand(self, start: PCollection[Any]) -> PCollection[str]:
        search, processes = self._search, self._processes
        references, queries = (
            start | name >> beam.FlatMap(_numbered, side.keypoints)
            for name, side in zip(("references", "queries"), reversed(search.sides), strict=True)
        )
        built = None
        if not search.index_is_there:
            index = DescriptorsToShards(search.index_job(), processes=processes)
            built = references | "index" >> index
        upright, mirrored = (
            queries | name >> ShardsToNeighbors(search.search_job(flipped), built, processes)
            for name, flipped in (("upright", False), ("mirrored", True))
        )
        votes: PCollection[str] = (upright, mirrored) | "vote" >> NeighborsToVotes(
            search.storage,
            search.sides.queries,
            search.voting,
            search.symmetric,
            runs.join(search.folder, "votes"),
            processes,
        )
        return votes


def _numbered(_: Any, uris: tuple[str, ...]) -> list[Part]:
    return list(enumerate(uris))
