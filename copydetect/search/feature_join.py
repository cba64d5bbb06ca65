"""Search of one shard of local features: each list is decoded once, for all queries that visit it.

Their codebook is on a grid of 2⁻¹¹, so that squared distances, below 4, are multiples of 2⁻²² and
their sums exact in float32, in any order: a matrix product gives a pair one score, whatever block
it is computed in, and equal features have equal scores. Lists are visited nearest first; of the
others only what reaches about the k-th best of the nearest one is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import faiss
import numpy as np
import numpy.typing as npt

from copydetect.description.keypoints import CODEBOOK_STEP
from copydetect.index.channels import IMAGE_SHIFT
from copydetect.search.list_join import Found, best_of, visited
from copydetect.search.queries import SearchOptions
from copydetect.types import Floats, Ints

_BLOCK_SCORES = 1 << 21
_LONGEST_LIST = 1 << 18
_CROWDED = 8
_RUNS_PER_RESULT = 8
_Held: TypeAlias = tuple[Ints, Floats, Floats]
"""Ids of a part of a list, its vectors and their squares."""
_NOTHING: Found = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


def is_exact(index: Any) -> bool:
    """Whether an index holds product codes of a codebook on the grid, compared by L2."""
    if not hasattr(index, "pq") or index.metric_type != faiss.METRIC_L2:
        return False
    steps = faiss.vector_to_array(index.pq.centroids) / np.float32(CODEBOOK_STEP)
    return bool((steps == np.rint(steps)).all())


class FeatureJoin:
    """Exact best k of the probed lists, ties by id, for one block of queries on the grid.

    `connect_score` does not apply: features vote, and need not hold crowds together. A list that
    comes out long was split, unless its features are about equal: a logo, a border. Of such a list
    only the 262,144 of lowest id are compared, for none of its hits will weigh anything.
    """

    def __init__(
        self,
        index: Any,
        queries: Ints,
        vectors: Floats,
        probes: npt.NDArray[np.int32],
        options: SearchOptions,
    ) -> None:
        # FAISS's lists are only as long in memory as their index.
        self._index = index
        self._queries, self._probes, self._options = queries, probes, options
        self._squares = np.einsum("ij,ij->i", vectors, vectors)
        # 2 q·r − |r|² ranks as the negative squared distance does.
        self._doubled = 2 * vectors
        lowest = np.float32(max(options.min_score, np.finfo(np.float32).min))
        self._floor = self._squares + lowest

    def run(self) -> Found:
        """Rows, ids and negative squared distances, ordered by row and rank."""
        pieces, widest = [_NOTHING], self._probes.shape[1]
        for start, stop in [(0, 1), (1, widest)] if widest > 1 else [(0, 1)]:
            pieces += self._round(start, stop)
        rows, ids, scores = (np.concatenate(column) for column in zip(*pieces, strict=True))
        rows, ids, scores = best_of((rows, ids, scores), self._options.k)
        return rows, ids, scores - self._squares[rows]

    def _round(self, start: int, stop: int) -> Iterator[Found]:
        """Visit each query's lists of rank `start` … `stop` − 1."""
        for rows, ids, codes in visited(self._index, self._probes[:, start:stop], _LONGEST_LIST):
            vectors = self._index.pq.decode(codes)
            held = ids, vectors, np.einsum("ij,ij->i", vectors, vectors)
            step = max(1, _BLOCK_SCORES // len(ids))
            for at in range(0, len(rows), step):
                yield self._block(rows[at : at + step], held, start == 0)

    def _block(self, rows: Ints, held: _Held, nearest: bool) -> Found:
        """What of some queries × some features may be among the best."""
        ids, vectors, squares = held
        scores = self._doubled[rows] @ vectors.T
        scores -= squares
        scores[self._excluded(rows, ids)] = -np.inf
        k = self._options.k
        if nearest and len(ids) > k:
            self._floor[rows] = np.maximum(self._floor[rows], _at_most_kth(scores, k))
        near = np.flatnonzero(scores >= self._floor[rows, None])
        at, columns = np.divmod(near, len(ids))
        found = rows[at], ids[columns], np.ravel(scores)[near]
        if len(near) > _CROWDED * k * len(rows):
            found = best_of(found, k)
        return found

    def _excluded(self, rows: Ints, ids: Ints) -> tuple[Ints, Ints]:
        """Rows and columns of what queries may not find. ids: ascending, as they are in a list, so
        that those of an image are next to each other."""
        width = {"none": -1, "self": 0, "image": IMAGE_SHIFT}[self._options.exclude]
        if width < 0:
            return _NOTHING[0], _NOTHING[1]
        first = self._queries[rows] >> width << width
        begin, end = np.searchsorted(ids, first), np.searchsorted(ids, first + (1 << width))
        own = np.flatnonzero(end > begin)
        columns = [_NOTHING[1], *map(np.arange, begin[own], end[own])]
        return np.repeat(own, (end - begin)[own]), np.concatenate(columns)


def _at_most_kth(scores: Floats, k: int) -> Floats:
    """(n,) a score that the k-th best of each row reaches: the k-th best of the largest of runs,
    which is near to it, and takes a tenth of the time. scores: (n, more than k)."""
    rows, columns = scores.shape
    length = max(1, columns // (_RUNS_PER_RESULT * k))
    runs = columns // length
    largest = scores[:, : runs * length].reshape(rows, length, runs).max(axis=1)
    kth: Floats = np.partition(largest, runs - k, axis=1)[:, runs - k]
    return kth
