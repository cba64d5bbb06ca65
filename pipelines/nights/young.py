"""A young catalogue, searched as a whole in the order of its contents' hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from copydetect import runs
from copydetect.candidates.candidate_job import Proposals
from copydetect.candidates.pair_numbers import PairNumbers
from copydetect.catalog.ordered import OrderedContents
from copydetect.description.views import VIEW_NAMES
from copydetect.parts import Sides
from copydetect.search.neighbors import read_neighbors, write_neighbors
from copydetect.search.vote_parts import read_votes, write_votes

from .. import stages
from ..stages import Workplace
from .job import NightJob


@dataclass(frozen=True)
class Searched:
    """What the search of a night gave.

    proposals: what pairs are made of, in `place`; neighbors, votes: the lists that the catalogue
    keeps, one file per part of it; order: of the images of the proposals, None where they are by
    number.
    """

    place: Workplace
    proposals: Proposals
    neighbors: Sequence[str]
    votes: Sequence[str]
    order: OrderedContents | None = None

    def numbered(self, pairs: PairNumbers) -> PairNumbers:
        """Pairs of the proposals, by number."""
        return pairs if self.order is None else self.order.numbered_pairs(pairs)


@dataclass(frozen=True)
class OrderedSearch:
    """order: what is searched; place: where; kept: where the catalogue's lists and indexes go;
    starts: (parts + 1,) first number of each part of the catalogue."""

    job: NightJob
    order: OrderedContents
    place: Workplace
    kept: Workplace
    starts: npt.NDArray[np.int64]

    def searched(self) -> Searched:
        """Search, and keep the lists and the indexes by number."""
        proposals = Proposals(
            tuple(self._neighbors()), tuple(self._votes()), self.sides, VIEW_NAMES
        )
        return Searched(
            self.place,
            proposals,
            self._kept_neighbors(proposals.neighbors),
            self._kept_votes(proposals.votes),
            self.order,
        )

    @property
    def sides(self) -> Sides:
        """All images, as they are searched in themselves."""
        return Sides(self.order.side, self.order.side)

    def _neighbors(self) -> list[str]:
        if not self.order.side.descriptors:
            return []
        settings, model = self.job.settings, self.job.models["descriptor"]
        index, options = settings.descriptor_index, settings.descriptor_search(symmetric=True)
        return self.place.run(
            stages.search_descriptors(self.place, self.sides, index, options, model)
        )

    def _votes(self) -> list[str]:
        if not self.order.side.keypoints:
            return []
        settings, voting = self.job.settings, self.job.settings.voting(symmetric=True)
        index, options = settings.feature_index, settings.feature_search(symmetric=True)
        return self.place.run(
            stages.search_keypoints(self.place, self.sides, index, options, voting)
        )

    def _kept_neighbors(self, uris: Sequence[str]) -> list[str]:
        storage, kept = self.place.storage, list[str]()
        if not uris:
            return kept
        self._keep_index("descriptors")
        lists = [read_neighbors(storage, uri) for uri in uris]
        for part, one in enumerate(self.order.numbered_neighbors(lists, self.starts)):
            kept.append(self._list_uri("descriptors", part, "spill"))
            write_neighbors(storage, kept[-1], one)
        return kept

    def _kept_votes(self, uris: Sequence[str]) -> list[str]:
        storage, kept = self.place.storage, list[str]()
        if not uris:
            return kept
        self._keep_index("keypoints")
        lists = [read_votes(storage, uri) for uri in uris]
        for part, one in enumerate(self.order.numbered_votes(lists, self.starts)):
            kept.append(self._list_uri("keypoints", part, "npz"))
            write_votes(storage, kept[-1], one)
        return kept

    def _list_uri(self, channel: str, part: int, suffix: str) -> str:
        lists = runs.join(self.kept.folder, "search", channel, "lists")
        return runs.join(lists, runs.part_name(part, suffix))

    def _keep_index(self, channel: str) -> None:
        source, target = (runs.join(place.index, channel) for place in (self.place, self.kept))
        self.order.write_index(self.place.storage, source, target)
