"""Images → groups of copies, as one transform in somebody's own pipeline.

All stages are steps of one graph, each of which waits for all of the one before, as in a run of
`copydetect dedup`. A run differs in two ways: it lists first, so that it can choose the number of
parts, and it plants copies to set its threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection

from copydetect import runs, tables
from copydetect.errors import OptionError
from copydetect.grouping.group_job import GroupJob
from copydetect.inputs.finding import find_sources
from copydetect.inputs.input_specs import Inputs, specs_of
from copydetect.options import RunOptions
from copydetect.parts import Sides
from copydetect.run_folder import RunFolder
from copydetect.settings import Settings
from copydetect.storage.files import Storage
from copydetect.storage.remote import BeamStorage
from copydetect.transforms.candidates_to_matches import CandidatesToMatches
from copydetect.transforms.descriptors_to_neighbors import DescriptorSearch, DescriptorsToNeighbors
from copydetect.transforms.images_to_refs import ImagesToRefs
from copydetect.transforms.keypoints_to_votes import KeypointSearch, KeypointsToVotes
from copydetect.transforms.matches_to_groups import MatchesToGroups
from copydetect.transforms.neighbors_to_candidates import NeighborsToCandidates
from copydetect.transforms.refs_to_descriptions import (
    DescriberSetup,
    RefsToDescriptions,
)
from copydetect.transforms.waiting import WaitThen

_PARTS = 16


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
        self._setup = DescriberSetup.chosen(self._settings, options)
        self._setup.load()
        self._parts = parts

    def expand(self, begin: PBegin) -> dict[str, PCollection[Any]]:
        place = _Place(self._storage, self._folder, self._parts, self._settings)
        settings, storage = self._settings, self._storage
        listing = runs.join(self._folder, "listing")
        parts = range(self._parts)
        done: PCollection[Any] = (
            begin
            | "list" >> ImagesToRefs(storage, self._sources, "image", listing)
            | "describe"
            >> RefsToDescriptions(storage, self._setup, "image", self._folder, self._parts, parts)
        )
        for name, stage in place.searches().items():
            done = done | f"after {name}" >> WaitThen(list) | name >> stage
        proposals = place.proposals(place.sides, settings.channels)
        merging = place.candidate_job(proposals, settings.candidates)
        grouped = (
            done
            | "numbers of parts" >> WaitThen(list, parts)
            | "candidates" >> NeighborsToCandidates(merging)
            | "pairs" >> WaitThen(place.match_work, place.grouping().candidates)
            | "verify"
            >> CandidatesToMatches(storage, place.sides, settings.verification, self._folder)
            | "group" >> MatchesToGroups(place.grouping(), place.sides)
        )
        return {
            name: grouped
            | f"files of {name}" >> WaitThen(_files, place, name)
            | f"spread {name}" >> beam.Reshuffle()
            | f"rows of {name}" >> beam.FlatMap(partial(_rows, storage))
            for name in ("matches", "groups", "failures")
        }


@dataclass(frozen=True)
class _Place(RunFolder):
    """The folder of all stages, for a collection of so many parts that is searched in itself."""

    parts: int
    settings: Settings

    @property
    def sides(self) -> Sides:
        """The collection twice."""
        described = self.described("image", self.parts, self.settings.channels)
        return Sides(described, described)

    def searches(self) -> dict[str, beam.PTransform[Any, Any]]:
        """The searches of all channels, one after the other, once images are described."""
        settings, sides = self.settings, self.sides
        found: dict[str, beam.PTransform[Any, Any]] = {}
        if "descriptor" in settings.channels:
            descriptors = DescriptorSearch.of(self, sides, settings)
            found["search descriptors"] = DescriptorsToNeighbors(descriptors)
        if "local" in settings.channels:
            keypoints = KeypointSearch.of(self, sides, settings)
            found["search keypoints"] = KeypointsToVotes(keypoints)
        return found

    def grouping(self) -> GroupJob:
        """The grouping of the matches."""
        return self.group_job(self.sides.references, self.settings, self.settings.verification)


def _files(place: _Place, name: str) -> list[str]:
    return place.grouping().tables()[name]


def _rows(storage: Storage, uri: str | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tables.read_table(storage, uri).to_pylist() if uri else []
    return rows
