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

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from copydetect.workers.devices import multiplies_int8

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

_LARGEST = 127
_LARGEST_SUM = 1 << 24
_BLOCK_SCORES = 1 << 20
_LEAST_ROWS = 64
_RUNS_PER_RESULT = 8
_TINY = 1e-20


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
        self._times_whole = _product_with(np.ascontiguousarray(whole.T, np.float32))
        self._block = max(_LEAST_ROWS, _BLOCK_SCORES // lists)

    def nearest(self, vectors: Floats, count: int, workers: int = 1) -> Integers:
        """The `count` nearest of each vector, nearest first, ties by number: (n, count) int64.

        All where there are no more than `count`. workers: threads, for many vectors at once.
        """
        count = min(count, len(self._halves))
        blocks = (vectors[at : at + self._block] for at in range(0, len(vectors), self._block))
        found = [np.empty((0, count), np.int64)]
        if workers == 1:
            found += [largest(self._scores(block), count) for block in blocks]
        else:
            with ThreadPoolExecutor(workers, initializer=threadpool_limits, initargs=(1,)) as pool:
                found += pool.map(lambda block: largest(self._scores(block), count), blocks)
        return np.concatenate(found)

    def _scores(self, vectors: Floats) -> Floats:
        """(n, lists) float32, higher is nearer; each row has its own unit."""
        centred = vectors - self._mean
        steps = self._levels / np.maximum(np.abs(centred).max(axis=1), _TINY)
        scores = self._times_whole(np.rint(centred * steps[:, None]))
        scores -= steps[:, None] * self._halves
        return scores


def _product_with(whole: Floats) -> Callable[[Floats], Floats]:
    """Products of whole numbers of a byte with `whole`, (d, lists), without any rounding."""
    if not multiplies_int8():
        return lambda vectors: np.asarray(vectors @ whole, np.float32)
    import torch

    small = torch.from_numpy(whole).to(torch.int8)

    def multiply(vectors: Floats) -> Floats:
        products = torch._int_mm(torch.from_numpy(vectors).to(torch.int8), small)
        return np.asarray(products.numpy(), np.float32)

    return multiply


def largest(scores: Floats, count: int) -> Integers:
    """Columns of the `count` largest of each row, largest first, ties by column: (n, count) int64.

    The largest of each run of columns give a bound, so that few columns are left to be sorted.
    """
    if count == 1:
        return np.asarray(scores.argmax(axis=1)[:, None])
    rows, columns = scores.shape
    length = columns // (_RUNS_PER_RESULT * count)
    if length < 2:
        return np.argsort(-scores, axis=1, kind="stable")[:, :count]
    runs = columns // length
    tops = scores[:, :runs].copy()
    for start in range(runs, runs * length, runs):
        np.maximum(tops, scores[:, start : start + runs], out=tops)
    least = np.partition(tops, runs - count, axis=1)[:, runs - count]
    row, column = np.divmod(np.flatnonzero(scores >= least[:, None]), columns)
    found = np.bincount(row, minlength=rows)
    place = np.arange(len(row)) - np.repeat(np.cumsum(found) - found, found)
    kept = np.full((rows, int(found.max(initial=count))), -np.inf, np.float32)
    at = np.zeros(kept.shape, np.int64)
    kept[row, place], at[row, place] = scores[row, column], column
    order = np.argsort(-kept, axis=1, kind="stable")[:, :count]
    found_at: Integers = np.take_along_axis(at, order, axis=1)
    return found_at
