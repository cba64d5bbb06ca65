"""The search of one shard of product codes: FAISS scans the probed lists, query by query.

FAISS keeps any of several vectors whose score is the k-th; which ones depends on the order in
which lists are read. So a few more are asked for, and queries whose k-th score is shared by more
than fit are answered by a range search from that score up.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from copydetect.index.partitions import Floats, Integers
from copydetect.search.list_join import Found, excluded
from copydetect.search.queries import SearchOptions

_MARGIN = 8


class ListScan:
    """Exact top k of the probed lists, ties by id, for one block of queries."""

    def __init__(
        self,
        index: Any,
        queries: Integers,
        vectors: Floats,
        probes: Integers,
        options: SearchOptions,
    ) -> None:
        index.nprobe = probes.shape[1]
        self._index = index
        self._sign = 1.0 if index.metric_type == faiss.METRIC_INNER_PRODUCT else -1.0
        self._queries, self._vectors, self._probes = queries, vectors, probes
        self._options = options

    def run(self) -> Found:
        """Rows, ids and scores, in no order; with the neighbours that connect crowds."""
        found: list[Found] = []
        pending = np.arange(len(self._queries))
        count = self._options.k + _MARGIN
        while len(pending):
            ids, scores, exhausted = self._search(pending, count)
            k, last = self._options.k, scores[:, -1]
            ids, scores = self._ranked(pending, ids, scores)
            kth = scores[:, k - 1]
            settled = exhausted | (kth > last) | (last < self._options.min_score)
            tied = ~settled & (kth > -np.inf)
            crowded = ~exhausted & (kth >= self._options.connect_score)
            found.append(_flat(pending[settled], ids[settled, :k], scores[settled, :k]))
            found += [self._tied(int(row), float(kth[at])) for at, row in _each(pending, tied)]
            found += [self._lowest(int(row)) for _, row in _each(pending, crowded)]
            pending = pending[~settled & ~tied]
            count = min(count * 8, max(int(self._index.ntotal), count + 1))
        rows, ids_, scores_ = (np.concatenate(column) for column in zip(*found, strict=True))
        kept = scores_ >= self._options.min_score
        return _unique(rows[kept], ids_[kept], scores_[kept])

    def _search(self, rows: Integers, count: int) -> tuple[Integers, Floats, Any]:
        """ids, scores: (n, count); exhausted: (n,) bool, the probed lists held no more."""
        probes = self._probes[rows]
        distances = np.zeros(probes.shape, dtype=np.float32)
        values, ids = self._index.search_preassigned(self._vectors[rows], count, probes, distances)
        scores = np.where(ids >= 0, self._sign * values, -np.inf).astype(np.float32)
        return ids, scores, ids[:, -1] < 0

    def _ranked(self, rows: Integers, ids: Integers, scores: Floats) -> tuple[Integers, Floats]:
        """Excluded neighbours last, equal scores by id."""
        scores = np.where(self._excluded(rows[:, None], ids), -np.inf, scores).astype(np.float32)
        by_id = np.argsort(ids, axis=1, kind="stable")
        ids, scores = np.take_along_axis(ids, by_id, 1), np.take_along_axis(scores, by_id, 1)
        by_score = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(ids, by_score, 1), np.take_along_axis(scores, by_score, 1)

    def _excluded(self, rows: Integers, ids: Integers) -> npt.NDArray[np.bool_]:
        return excluded(self._queries[rows], ids, self._options)

    def _over(self, row: int, score: float) -> tuple[Integers, Floats]:
        """Every neighbour of a query from `score` up, without the excluded."""
        radius = np.nextafter(np.float32(self._sign * score), np.float32(-self._sign * np.inf))
        one = slice(row, row + 1)
        _, values, ids = self._index.range_search_preassigned(
            self._vectors[one], float(radius), self._probes[one], None
        )
        kept = ~self._excluded(np.full(len(ids), row), ids)
        return ids[kept], (self._sign * values[kept]).astype(np.float32)

    def _tied(self, row: int, kth: float) -> Found:
        """The top k of a query whose k-th score is shared by more than fit."""
        ids, scores = self._over(row, kth)
        best = np.lexsort((ids, -scores))[: self._options.k]
        return np.full(len(best), row), ids[best], scores[best]

    def _lowest(self, row: int) -> Found:
        """The neighbour of lowest id among those over `connect_score`."""
        ids, scores = self._over(row, self._options.connect_score)
        best = np.array([np.argmin(ids)])
        return np.array([row]), ids[best], scores[best]


def _each(rows: Integers, chosen: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    at = np.flatnonzero(chosen)
    return [(int(position), int(rows[position])) for position in at]


def _flat(rows: Integers, ids: Integers, scores: Floats) -> Found:
    kept = scores > -np.inf
    return np.repeat(rows, kept.sum(axis=1)), ids[kept], scores[kept]


def _unique(rows: Integers, ids: Integers, scores: Floats) -> Found:
    """Each hit once: the connecting neighbour may be among the best too."""
    order = np.lexsort((scores, ids, rows))
    rows, ids, scores = rows[order], ids[order], scores[order]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (np.diff(rows) != 0) | (np.diff(ids) != 0) | (np.diff(scores) != 0)
    return rows[first], ids[first], scores[first]
