"""A young catalogue, searched as a whole in the order of its contents' hashes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from copydetect import runs
from copydetect.candidates.candidate_job import Proposals
from copydetect.candidates.pair_numbers import PairNumbers
from copydetect.catalog.ordered import OrderedContents
from copydetect.parts import Sides
from copydetect.search.neighbors import read_neighbors, write_neighbors
from copydetect.search.vote_parts import read_votes, write_votes
from copydetect.storage.files import Storage
from copydetect.types import Ints

from ..search_stages import searching
from ..stages import Workplace
from .job import NightJob


def search_all(job: NightJob, place: Workplace, sides: Sides) -> Proposals:
    """Search all images in themselves by every channel, as a run does."""
    searches, proposals = searching(place, job.settings, job.models.identities, sides)
    for search in searches:
        place.run(search, sides.queries.parts)
    return proposals


Lists = TypeVar("Lists")


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
    starts: Ints

    def searched(self) -> Searched:
        """Search, and keep the lists and the indexes by number."""
        proposals = search_all(self.job, self.place, Sides(self.order.side, self.order.side))
        return Searched(
            self.place,
            proposals,
            self._kept(
                "descriptors",
                "spill",
                proposals.neighbors,
                read_neighbors,
                self.order.numbered_neighbors,
                write_neighbors,
            ),
            self._kept(
                "keypoints",
                "npz",
                proposals.votes,
                read_votes,
                self.order.numbered_votes,
                write_votes,
            ),
            self.order,
        )

    def _kept(
        self,
        channel: str,
        suffix: str,
        uris: Sequence[str],
        read: Callable[[Storage, str], Lists],
        numbered: Callable[[Sequence[Lists], Ints], Sequence[Lists]],
        write: Callable[[Storage, str, Lists], None],
    ) -> list[str]:
        """Write the index and the lists of a search with the catalogue's numbers, in its folder;
        nothing where there was no search."""
        if not uris:
            return []
        self._keep_index(channel)
        storage = self.place.storage
        kept = []
        for part, one in enumerate(numbered([read(storage, uri) for uri in uris], self.starts)):
            kept.append(self._list_uri(channel, part, suffix))
            write(storage, kept[-1], one)
        return kept

    def _list_uri(self, channel: str, part: int, suffix: str) -> str:
        lists = runs.join(self.kept.folder, "search", channel, "lists")
        return runs.join(lists, runs.part_name(part, suffix))

    def _keep_index(self, channel: str) -> None:
        source, target = (runs.join(place.index, channel) for place in (self.place, self.kept))
        self.order.write_index(self.place.storage, source, target)
