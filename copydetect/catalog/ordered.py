"""What a catalogue holds, in the order of its contents' hashes, as a run has it.

Numbers tell on which night an image came, and a search breaks ties by them: where a template's
features are equal in all of its pages, those of the first pages are found. So that what is found
depends on nothing but what is there, a catalogue that is searched as a whole is searched in this
order, and what was found gets the catalogue's numbers then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.candidates.pair_numbers import PairNumbers
from copydetect.catalog.files import key_of
from copydetect.catalog.grown_index import renumbered_index
from copydetect.catalog.lists import merged_votes, no_votes, votes_of
from copydetect.index.channels import IMAGE_SHIFT
from copydetect.parts import RoleParts, part_count
from copydetect.search.neighbors import Neighbors
from copydetect.search.votes import Votes
from copydetect.storage.files import Storage
from copydetect.types import Bools, Ints

_BELOW = (1 << IMAGE_SHIFT) - 1


@dataclass(frozen=True)
class OrderedContents:
    """Living contents by SHA-256. side: their tables; numbers: (n,) int64, of each its number in
    the catalogue, where its place here is the image_no of a search."""

    side: RoleParts
    numbers: Ints

    @classmethod
    def write(
        cls, storage: Storage, folder: str, catalog: RoleParts, living: Bools
    ) -> OrderedContents:
        """Write the tables of the living contents, in parts as a run has them.

        catalog: all parts, from number 0 on; living: (numbers,) bool, which contents are there.
        """
        images = tables.read_tables(storage, catalog.image_files, tables.IMAGES)
        numbers = np.flatnonzero(living)
        hashes = images["sha256"].take(pa.array(numbers)).to_numpy(zero_copy_only=False)
        numbers = numbers[np.argsort(hashes.astype(str), kind="stable")].astype(np.int64)
        parts = part_count(len(numbers))
        bounds = (np.arange(parts + 1) * len(numbers) // parts).astype(np.int64)
        written = {}
        for name, uris in catalog.tables.items():
            rows = images if name == "images" else tables.read_tables(storage, uris, tables.IMAGES)
            written[name] = _in_parts(storage, runs.join(folder, name), rows, numbers, bounds)
        counts = tuple(np.diff(bounds).tolist())
        descriptors, keypoints = (written.get(name, ()) for name in ("descriptors", "keypoints"))
        return cls(RoleParts(written["images"], counts, descriptors, keypoints), numbers)

    def numbered_neighbors(self, lists: Sequence[Neighbors], starts: Ints) -> list[Neighbors]:
        """The lists of all parts, by number, for the parts of the catalogue; starts: (parts + 1,)
        first number of each."""
        found = Neighbors.joined(lists)
        queries, ids = (self._numbered(column) for column in (found.queries, found.ids))
        order = np.lexsort((ids, -found.scores, queries))
        queries, ids, scores = queries[order], ids[order], found.scores[order]
        ends = np.searchsorted(queries >> IMAGE_SHIFT, starts)
        return [Neighbors(queries[a:b], ids[a:b], scores[a:b]) for a, b in _between(ends)]

    def numbered_votes(self, lists: Sequence[Votes], starts: Ints) -> list[Votes]:
        """The same of votes."""
        numbered = [
            replace(
                votes,
                query=self.numbers[votes.query],
                reference=self.numbers[votes.reference],
                families=self.numbers[votes.families],
            )
            for votes in lists
        ]
        everywhere = np.ones(int(starts[-1]), np.bool_)
        most = max(1, sum(len(one.query) for one in lists))
        votes = merged_votes([no_votes(), *numbered], everywhere, most)
        return [votes_of(votes, int(a), int(b)) for a, b in _between(starts)]

    def numbered_pairs(self, pairs: PairNumbers) -> PairNumbers:
        """Pairs of images by number."""
        ends = self.numbers[pairs.query], self.numbers[pairs.reference]
        return PairNumbers(*ends, pairs.starts, pairs.points)

    def write_index(self, storage: Storage, source: str, folder: str) -> None:
        """Write an index of these contents as one of the catalogue."""
        renumbered_index(storage, source, folder, self._numbered)

    def _numbered(self, ids: Ints) -> Ints:
        """Ids of vectors by number."""
        found: Ints = self.numbers[ids >> IMAGE_SHIFT] << IMAGE_SHIFT | (ids & _BELOW)
        return found


def _in_parts(
    storage: Storage, folder: str, rows: pa.Table, numbers: Ints, bounds: Ints
) -> tuple[str, ...]:
    """Write rows of these contents, in their order, in parts; the files."""
    keys = pa.array([key_of(number) for number in numbers.tolist()], pa.string())
    places = pc.index_in(rows["image_id"], value_set=keys)
    found = np.flatnonzero(pc.is_valid(places).to_numpy())
    at = places.take(pa.array(found)).to_numpy()
    order = np.argsort(at, kind="stable")
    rows, at = rows.take(pa.array(found[order])), at[order]
    uris = []
    for part, (first, last) in enumerate(_between(np.searchsorted(at, bounds))):
        uris.append(runs.join(folder, runs.part_name(part)))
        tables.write_table(storage, uris[-1], rows.slice(first, last - first))
    return tuple(uris)


def _between(bounds: Ints) -> Iterator[tuple[int, int]]:
    yield from zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
