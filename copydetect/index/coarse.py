"""The coarse quantiser: which centroids are nearest to a vector.

Each vector is compared with all centroids: what the lists of near groups hold is not enough, for an
edited copy lies between the crowds of its pictures. It is the one step whose work grows faster than
a collection, so it is done in whole numbers of a byte: their products add up without any rounding,
and the same lists are found in blocks of any size, in any order and on any processor, in an eighth
of the time that float32 takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from copydetect.sorted_rows import place_in_run
from copydetect.types import Floats, Ints
from copydetect.workers.devices import multiplies_int8
from copydetect.workers.threads import limit_threads

Products: TypeAlias = Callable[[slice, Floats], Floats]
"""Products of some centroids, (lists, d), with whole numbers of a byte, (d, n), without any
rounding."""

_LARGEST = 127
_LARGEST_SUM = 1 << 24
_BLOCK_SCORES = 1 << 20
_CACHED_SCORES = 1 << 17
_LEAST_ROWS = 64
_RUNS_PER_RESULT = 8
_TINY = 1e-20
_LEAST_FOR_BYTES = 2048
"""Lists from which products of bytes save more than loading PyTorch takes: a tenth of the search of
5,000 pictures' features, which have 2,471."""
_FEW_VECTORS = 16_384
"""At once, such as those of a picture that is looked up: PyTorch is not loaded for these."""


class CoarseQuantiser:
    """Finds the centroids, (lists, d) float32, that are nearest to vectors by L2.

    Both are rounded to `levels` steps in each direction from the mean of the centroids: as many as
    keep every sum below 2²⁴, where float32, which stands in for processors without products of
    bytes, is exact too.
    """

    def __init__(self, centroids: Floats) -> None:
        lists, dimension = centroids.shape
        self._levels = np.float32(min(_LARGEST, math.isqrt(_LARGEST_SUM // dimension)))
        self._mean = centroids.mean(axis=0)
        centred = centroids - self._mean
        self._steps = self._levels / max(float(np.abs(centred).max()), _TINY)
        whole = np.rint(centred * self._steps)
        # |q − c|² ranks as q·c − |c|² / 2 does.
        self._halves = np.einsum("ij,ij->i", whole, whole) / (2 * self._steps)
        self._whole = np.ascontiguousarray(whole, np.float32)
        self._block = max(_LEAST_ROWS, _BLOCK_SCORES // lists)

    def nearest(self, vectors: Floats, count: int, workers: int = 1) -> Ints:
        """The `count` nearest of each vector, nearest first, ties by number: (n, count) int64.

        All where there are no more than `count`. workers: threads, for many vectors at once.
        """
        count, products = min(count, len(self._halves)), self._products_for(len(vectors))
        blocks = (vectors[at : at + self._block] for at in range(0, len(vectors), self._block))
        found = [np.empty((0, count), np.int64)]
        if workers == 1:
            found += [largest(self._scores(block, products), count) for block in blocks]
        else:
            with ThreadPoolExecutor(workers, initializer=threadpool_limits, initargs=(1,)) as pool:
                found += pool.map(
                    lambda block: largest(self._scores(block, products), count), blocks
                )
        return np.concatenate(found)

    def _products_for(self, vectors: int) -> Products:
        """The quickest products for so many vectors."""
        few = vectors < _FEW_VECTORS or len(self._whole) < _LEAST_FOR_BYTES
        return self._in_floats if few or not multiplies_int8() else self._in_bytes

    def _in_floats(self, some: slice, vectors: Floats) -> Floats:
        return np.asarray(self._whole[some] @ vectors, np.float32)

    @cached_property
    def _in_bytes(self) -> Products:
        import torch

        small = torch.from_numpy(self._whole).to(torch.int8)

        def multiply(some: slice, vectors: Floats) -> Floats:
            limit_threads(1)
            products = torch._int_mm(small[some], torch.from_numpy(vectors).to(torch.int8))
            return np.asarray(products.numpy(), np.float32)

        return multiply

    def _scores(self, vectors: Floats, multiply: Products) -> Floats:
        """(lists, n) float32, higher is nearer; each column has its own unit."""
        centred = vectors - self._mean
        steps = self._levels / np.maximum(np.abs(centred).max(axis=1), _TINY)
        whole = np.ascontiguousarray(np.rint(centred * steps[:, None]).T)
        scores = np.empty((len(self._halves), len(vectors)), np.float32)
        together = max(1, _CACHED_SCORES // max(len(vectors), 1))
        for start in range(0, len(scores), together):
            some = slice(start, start + together)
            products = multiply(some, whole)
            products -= self._halves[some, None] * steps
            scores[some] = products
        return scores


def largest(scores: Floats, count: int) -> Ints:
    """Rows of the `count` largest of each column, largest first, ties by row: (n, count) int64.

    scores: (lists, n). The largest of each run of rows give a bound, so that few rows are left to
    be sorted.
    """
    rows, columns = scores.shape
    length = rows // (_RUNS_PER_RESULT * count)
    if length < 2:
        return np.argsort(-scores.T, axis=1, kind="stable")[:, :count]
    runs = rows // length
    tops = scores[: runs * length].reshape(runs, length, columns).max(axis=1)
    least = np.partition(tops, runs - count, axis=0)[runs - count]
    row, column = np.divmod(np.flatnonzero(scores >= least), max(columns, 1))
    order = np.argsort(column, kind="stable")
    row, column = row[order], column[order]
    place = place_in_run(column)
    kept = np.full((columns, int(place.max(initial=count - 1)) + 1), -np.inf, np.float32)
    at = np.zeros(kept.shape, np.int64)
    kept[column, place], at[column, place] = scores[row, column], row
    best = np.argsort(-kept, axis=1, kind="stable")[:, :count]
    found_at: Ints = np.take_along_axis(at, best, axis=1)
    return found_at
