"""Descriptors → neighbours: the references are indexed, and the queries searched in the index."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect import runs
from copydetect.index.building import IndexJob
from copydetect.index.channels import DescriptorReader
from copydetect.index.partitions import IndexOptions
from copydetect.index.routing import Part
from copydetect.parts import RowCounts, Sides
from copydetect.run_folder import RunFolder
from copydetect.search.queries import SearchOptions
from copydetect.search.searching import SearchJob
from copydetect.settings import Settings
from copydetect.storage.files import Storage
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors
from copydetect.transforms.waiting import Elements, WaitThen
from copydetect.workers.processes import Processes


@dataclass(frozen=True)
class DescriptorSearch:
    """A search of descriptors. index_folder, folder: of the index, and of the results; model:
    identity of what made the descriptors; index_is_there: whether it is finished already.
    """

    storage: Storage
    sides: Sides
    index_folder: str
    folder: str
    index: IndexOptions
    options: SearchOptions
    model: str = ""
    index_is_there: bool = False

    @classmethod
    def of(
        cls, place: RunFolder, sides: Sides, settings: Settings, model: str = ""
    ) -> DescriptorSearch:
        """That of a run, in its folder."""
        return cls(
            storage=place.storage,
            sides=sides,
            index_folder=runs.join(place.index, "descriptors"),
            folder=place.searched("descriptors"),
            index=settings.descriptor_index,
            options=settings.descriptor_search(sides.symmetric),
            model=model,
            index_is_there=place.index_is_there,
        )

    def index_job(self) -> IndexJob:
        """How the index is built."""
        references = self.sides.references
        counted = references.descriptors, references.noted, "descriptors"
        vectors = partial(sum, RowCounts(self.storage, *counted))
        return IndexJob(
            self.storage,
            self.index_folder,
            DescriptorReader(self.storage, references),
            vectors,
            self.index,
            self.model,
            parts=references.parts,
        )

    def search_job(self) -> SearchJob:
        """How the index is searched."""
        read, parts = DescriptorReader(self.storage, self.sides.queries), self.sides.queries.parts
        place = self.folder, read, self.index_folder
        return SearchJob(self.storage, *place, self.options, parts=parts)


@dataclass(eq=False, repr=False)
class DescriptorsToNeighbors(beam.PTransform[Any, Any]):
    """None, once the descriptors exist → (part number, URI) of neighbours files, and None."""

    search: DescriptorSearch
    processes: Processes = field(default_factory=Processes)

    def expand(self, start: PCollection[Any]) -> PCollection[Part]:
        search, processes = self.search, self.processes
        if not search.index_is_there:
            start = (
                start
                | "references" >> Elements(list(enumerate(search.sides.references.descriptors)))
                | "index" >> DescriptorsToShards(search.index_job(), processes)
            )
        found: PCollection[Part] = (
            start
            | "queries" >> WaitThen(enumerate, search.sides.queries.descriptors)
            | "search" >> ShardsToNeighbors(search.search_job(), processes)
        )
        return found
