"""The search of one shard by matrix products: a list against all queries that visit it.

A matrix product of decoded codes compares several times faster than a scan of codes, query by
query. Its rounding depends on the shape of the block, so it only proposes: whatever comes near a
query's k-th best is compared again, pair by pair, in one fixed order of summation. The nearest
list is visited first, so that of the others only little comes near.

Two vectors that visit each other's lists are compared from both sides. Doing such pairs of lists
once would save an eighth of the products among 250,000 vectors and a fifth among a million, and
products are a quarter of the work; But each block would fall into vectors that are visited from one
side and from both, and shards would have to tell each other's queries what they found. So it is not
done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, TypeAlias

import faiss
import numpy as np
import numpy.typing as npt

from copydetect.index.channels import IMAGE_SHIFT
from copydetect.index.shards import list_of
from copydetect.index.spills import stable_order
from copydetect.search.products import Halves, Products, widened
from copydetect.search.queries import SearchOptions
from copydetect.sorted_rows import place_in_run
from copydetect.types import Bools, Floats, Ints

Found: TypeAlias = tuple[Ints, Ints, Floats]
"""Rows of queries, ids of neighbours, scores; row i of each belongs together."""

_BLOCK_SCORES = 1 << 22
_LIST_BLOCK = 8192
_EXACT_PAIRS = 1 << 14
_SORTED_TOGETHER = 2048
_ROUNDING = 8e-6
_CROWDED = 8
_MOST_HELD = 1 << 22
_NOTHING: Found = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


def excluded(queries: Ints, ids: Ints, options: SearchOptions) -> Bools:
    """Which of `ids` a query may not find; shapes broadcast."""
    if options.exclude == "self":
        return np.asarray(queries == ids)
    if options.exclude == "image":
        return np.asarray(queries >> IMAGE_SHIFT == ids >> IMAGE_SHIFT)
    return np.zeros(np.broadcast_shapes(queries.shape, ids.shape), dtype=bool)


def visited(
    index: Any, lists: npt.NDArray[np.int32], longest: int | None = None
) -> Iterator[tuple[Ints, Ints, npt.NDArray[np.uint8]]]:
    """Blocks of the lists that queries visit: rows of the queries, ids (n,) and codes (n, bytes).

    lists: (queries, p), −1 for none; longest: how much of a list is taken at most.
    """
    order = stable_order(np.ravel(lists))
    numbers, starts = np.unique(np.ravel(lists)[order], return_index=True)
    rows = order // lists.shape[1]
    for number, begin, end in zip(numbers, starts, [*starts[1:], len(rows)], strict=True):
        if number >= 0:
            ids, codes = list_of(index, int(number))
            ids, codes = ids[:longest], codes[:longest]
            for first in range(0, len(ids), _LIST_BLOCK):
                block = slice(first, first + _LIST_BLOCK)
                yield rows[begin:end], ids[block].copy(), codes[block]


def best_of(found: Found, k: int) -> Found:
    """The k best of each row, by score, then by id; ordered by row and rank."""
    rows, ids, scores = found
    bits = (scores + np.float32(0)).view(np.uint32)
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    keys = rows.astype(np.uint64) << np.uint64(32) | (~ascending).astype(np.uint64)
    order = _order(rows, keys)
    keys = keys[order]
    same = keys[1:] == keys[:-1]
    tied = np.zeros(len(keys), dtype=bool)
    tied[1:] = same
    tied[:-1] |= same
    at = np.flatnonzero(tied)
    order[at] = order[at][np.lexsort((ids[order[at]], keys[at]))]
    kept = order[place_in_run(keys >> np.uint64(32)) < k]
    return rows[kept], ids[kept], scores[kept]


def _order(rows: Ints, keys: npt.NDArray[np.uint64]) -> Ints:
    """The order of keys that ascend with their rows, some rows at a time: what fits into the cache
    of a processor is sorted twice as fast."""
    together = _SORTED_TOGETHER * (int(rows.max(initial=0)) + 1) // max(len(rows), 1)
    some = rows >> max(together.bit_length() - 1, 0)
    order = stable_order(some)
    for mine in np.split(order, np.cumsum(np.bincount(some))[:-1]):
        mine[:] = mine[np.argsort(keys[mine])]
    return order


def exact_scores(
    vectors: Floats | Halves,
    rows: Ints,
    others: Callable[[Ints], Floats],
    at: Ints,
    l2: bool,
) -> Floats:
    """Scores (n,) of pairs, each summed for itself: vectors[rows] with others(at)."""
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _EXACT_PAIRS):
        part = slice(start, start + _EXACT_PAIRS)
        one, other = widened(vectors[rows[part]]), others(at[part])
        if l2:
            one = one - other
            other = one
        scores[part] = np.einsum("ij,ij->i", one, other)
    return -scores if l2 else scores


class ListJoin:
    """Exact best k of the probed lists, ties by id, for one block of queries."""

    def __init__(
        self,
        index: Any,
        queries: Ints,
        vectors: Floats | Halves,
        probes: npt.NDArray[np.int32],
        options: SearchOptions,
        floors: Floats | None = None,
    ) -> None:
        """vectors: (queries, d) float32 or float16; floors: (queries,) float32, below which
        nothing is wanted, where that is known."""
        # FAISS's lists are only as long in memory as their index.
        self._index = index
        self._decode = _decoder(index)
        self._l2 = index.metric_type == faiss.METRIC_L2
        self._queries, self._vectors, self._probes = queries, vectors, probes
        self._products = Products(vectors)
        self._options = options
        self._lowest = np.full(len(queries), np.iinfo(np.int64).max)
        self._lowest_score = np.full(len(queries), -np.inf, dtype=np.float32)
        self._floor = np.full(len(queries), options.min_score, dtype=np.float32)
        self._told = floors is not None
        if floors is not None:
            self._floor = np.maximum(self._floor, floors)

    def run(self) -> Found:
        """The neighbours, ordered by row and rank; then those that connect crowds."""
        widest = self._probes.shape[1]
        # Where floors are known, there is nothing to learn from the nearest list first.
        first = widest if self._told else 1
        best = self._best_after(0, first, _NOTHING)
        if first < widest:
            best = self._best_after(first, widest, best)
        return self._with_lowest(best)

    def _best_after(self, start: int, stop: int, best: Found) -> Found:
        """The best, once lists of rank `start` … `stop` − 1 are visited too.

        What is found is cut to the best whenever it has become much.
        """
        found, held = [best], 0
        for piece in self._round(start, stop):
            found.append(piece)
            held += len(piece[0])
            if held > _MOST_HELD:
                found, held = [self._cut(found)], 0
        return self._cut(found)

    def _cut(self, found: list[Found]) -> Found:
        rows, ids, scores = (np.concatenate(column) for column in zip(*found, strict=True))
        best = best_of((rows, ids, scores), self._options.k)
        self._raise_floor(best)
        return best

    def _round(self, start: int, stop: int) -> Iterator[Found]:
        """Visit each query's lists of rank `start` … `stop` − 1."""
        for rows, ids, codes in visited(self._index, self._probes[:, start:stop]):
            vectors = self._decode(codes)
            step = max(1, _BLOCK_SCORES // len(ids))
            for at in range(0, len(rows), step):
                yield self._block(rows[at : at + step], ids, vectors)

    def _block(self, rows: Ints, ids: Ints, vectors: Floats) -> Found:
        """What of some queries × some vectors may be among the best."""
        scores, slack = self._proposed(rows, vectors)
        self._note_lowest(rows, ids, vectors, scores, slack)
        k = self._options.k
        near = scores >= (self._floor[rows] - slack)[:, None]
        if np.count_nonzero(near) > 2 * k * len(rows) and len(ids) > k:
            scores[excluded(self._queries[rows, None], ids, self._options)] = -np.inf
            kth = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
            near &= scores >= (kth - 2 * slack)[:, None]
            near &= scores > -np.inf
        at, columns = np.divmod(np.flatnonzero(near), len(ids))
        kept = ~excluded(self._queries[rows[at]], ids[columns], self._options)
        at, columns = at[kept], columns[kept]
        if len(at) > _CROWDED * k * len(rows):
            return self._crowded(rows, at, columns, ids, vectors)
        exact = self._exact(rows[at], vectors, columns)
        above = exact >= self._options.min_score
        return rows[at][above], ids[columns][above], exact[above]

    def _proposed(self, rows: Ints, vectors: Floats) -> tuple[Floats, Floats]:
        """Scores (rows, vectors) by a matrix product, and (rows,) how wrong they may be."""
        scores, errors = self._products.of(rows, vectors)
        if self._l2:
            scores *= 2
            scores -= np.einsum("ij,ij->i", vectors, vectors)
            squares = self._products.squares[rows]
            scores -= squares[:, None]
            errors = (errors * 2 + _ROUNDING * squares).astype(np.float32)
        return scores, errors

    def _exact(self, rows: Ints, vectors: Floats, columns: Ints) -> Floats:
        return exact_scores(self._vectors, rows, vectors.__getitem__, columns, self._l2)

    def _crowded(self, rows: Ints, at: Ints, columns: Ints, ids: Ints, vectors: Floats) -> Found:
        """Many near-equal vectors: cut each few queries to their best before the next."""
        pieces: list[Found] = []
        starts = np.searchsorted(at, np.arange(len(rows) + 1))
        for begin, end in pairwise(starts):
            mine = rows[at[begin:end]]
            exact = self._exact(mine, vectors, columns[begin:end])
            above = exact >= self._options.min_score
            found = mine[above], ids[columns[begin:end]][above], exact[above]
            pieces.append(best_of(found, self._options.k))
        merged = [np.concatenate(column) for column in zip(*pieces, strict=True)]
        return merged[0], merged[1], merged[2]

    def _raise_floor(self, best: Found) -> None:
        """From now on, only what is as good as a query's k-th counts."""
        rows, _, scores = best
        counts = np.bincount(rows, minlength=len(self._floor))
        full = np.flatnonzero(counts >= self._options.k)
        last = np.cumsum(counts)[full] - 1
        self._floor[full] = np.maximum(self._floor[full], scores[last])

    def _note_lowest(
        self, rows: Ints, ids: Ints, vectors: Floats, scores: Floats, slack: Floats
    ) -> None:
        """Remember the lowest id over `connect_score` of each query; ids ascend in a list."""
        wanted = self._options.connect_score
        if wanted == np.inf:
            return
        over = scores >= (wanted - slack)[:, None]
        some = np.flatnonzero(over.any(axis=1))
        over = over[some]
        over &= ~excluded(self._queries[rows[some], None], ids, self._options)
        while len(some):
            columns = over.argmax(axis=1)
            has = over[np.arange(len(some)), columns]
            some, over, columns = some[has], over[has], columns[has]
            exact = self._exact(rows[some], vectors, columns)
            sure = exact >= wanted
            lower = sure & (ids[columns] < self._lowest[rows[some]])
            self._lowest[rows[some[lower]]] = ids[columns[lower]]
            self._lowest_score[rows[some[lower]]] = exact[lower]
            over[np.arange(len(some)), columns] = False
            some, over = some[~sure], over[~sure]

    def _with_lowest(self, best: Found) -> Found:
        """Add, for queries whose k best are all over `connect_score`, the lowest id over it."""
        rows, ids, scores = best
        crowded = np.flatnonzero(self._floor >= self._options.connect_score)
        crowded = crowded[self._lowest_score[crowded] > -np.inf]
        if not len(crowded):
            return best
        pairs = np.stack([rows, ids], axis=1)
        lowest = np.stack([crowded, self._lowest[crowded]], axis=1)
        new = ~np.isin(_as_records(lowest), _as_records(pairs))
        return (
            np.concatenate([rows, crowded[new]]),
            np.concatenate([ids, self._lowest[crowded[new]]]),
            np.concatenate([scores, self._lowest_score[crowded[new]]]),
        )


def _as_records(pairs: Ints) -> npt.NDArray[np.void]:
    return np.ascontiguousarray(pairs).view([("row", "<i8"), ("id", "<i8")])[:, 0]


def _decoder(index: Any) -> Any:
    """Codes (n, m) uint8 → vectors (n, d) float32."""
    if hasattr(index, "sq"):
        sq = index.sq
        if sq.qtype == faiss.ScalarQuantizer.QT_fp16:
            return lambda codes: widened(codes.view(np.float16))
        return lambda codes: sq.decode(np.ascontiguousarray(codes))
    if hasattr(index, "pq"):
        return lambda codes: index.pq.decode(np.ascontiguousarray(codes))
    return lambda codes: codes.view(np.float32)
