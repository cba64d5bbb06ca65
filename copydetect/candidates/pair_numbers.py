"""Candidate pairs as image numbers, in a file beside their table, by which images are opened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from copydetect import runs, tables
from copydetect.index.spills import read_arrays, write_arrays
from copydetect.sorted_rows import ranges
from copydetect.storage.files import Storage
from copydetect.types import Floats, Ints


@dataclass(frozen=True)
class PairNumbers:
    """Candidates as numbers, in the order of their table; row i of each belongs together.

    query, reference: (n,) int64 image_no; correspondences of row i are rows
    starts[i]:starts[i + 1] of points: (p, 4) float32, as in `votes.Votes`.
    """

    query: Ints
    reference: Ints
    starts: Ints
    points: Floats

    @classmethod
    def unproposed(cls, query: Ints, reference: Ints) -> PairNumbers:
        """Pairs in which no search has found anything to agree."""
        starts, points = np.zeros(len(query) + 1, np.int64), np.empty((0, 4), np.float32)
        return cls(query, reference, starts, points)

    def correspondences(self, row: int) -> Floats:
        """(n, 4) float32: what the search found to agree in a pair, none for pairs that only
        descriptors propose."""
        return self.points[self.starts[row] : self.starts[row + 1]]

    def take(self, rows: Ints) -> PairNumbers:
        """Some of the candidates, in the order of `rows`."""
        counts = np.diff(self.starts)[rows]
        starts = np.r_[0, np.cumsum(counts)].astype(np.int64)
        points = self.points[ranges(self.starts[rows], counts)]
        return PairNumbers(self.query[rows], self.reference[rows], starts, points)


def write_pairs(storage: Storage, uri: str, pairs: PairNumbers) -> None:
    """Write the numbers of a part of candidates."""
    write_arrays(storage, uri, "", **vars(pairs))


def read_pairs(storage: Storage, uri: str) -> PairNumbers:
    """Read what `write_pairs` wrote; IndexFileError where the file is missing or damaged."""
    return PairNumbers(**read_arrays(storage, uri)[1])


def write_work(
    storage: Storage, folder: str, part: int, candidates: pa.Table, pairs: PairNumbers
) -> tuple[int, str, str]:
    """Write a part of pairs to verify; its number, its table of candidates, its pair numbers."""
    table = runs.join(folder, "candidates", runs.part_name(part))
    numbers = runs.join(folder, "pairs", runs.part_name(part, "npz"))
    tables.write_table(storage, table, candidates)
    write_pairs(storage, numbers, pairs)
    return part, table, numbers
