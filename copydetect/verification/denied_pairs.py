"""Pairs of look-alikes that were taken for copies → those that the copies of both deny.

Where A is a copy of B, and C one of D, the pairs A C, A D, B C and B D have one answer. A cropped
and compressed month of a calendar may pass for another month; their originals do not.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array

from copydetect.types import Bools, Doubles, Ints

_CLOSE, _POWER = 0.5, 4
"""From which confidence on an image may speak for another, and the power of it that it counts with:
only what is nearly sure counts for much."""
_COPY_OF_BOTH = 0.8
"""From which confidence a third image proves that two are copies, being one of each."""
_DENIED = 0.55
"""Mean confidence, below which the copies of two images say that these are none."""
_COMPARABLE, _OTHER_CONTENT = 0.5, 0.1
"""From which confidence, or share of other content, a pair is known to show one thing, or one page
with something else. That nothing in common is seen in a heavy edit denies nothing."""


def denied_by_copies(
    ends: Ints, confidences: Doubles, other_content: Doubles, doubtful: Bools
) -> Bools:
    """(n,) bool: which of the doubtful pairs are none, by the pairs between their images' copies.

    ends: (2, n) numbers of the images of n pairs, from 0; confidences: (n,) of being copies;
    other_content: (n,) as in `types.Match`; doubtful: (n,) bool.

    Each image stands with its copies. All compared pairs between those of one side and those of the
    other have a mean confidence, each weighed by how surely both of its images are copies of these.
    A pair of which nothing else is known is never denied, nor one with a common copy.
    """
    rows = np.flatnonzero(doubtful)
    denied = np.zeros(len(doubtful), np.bool_)
    if not len(rows):
        return denied
    images = int(ends.max()) + 1
    both_ways = np.concatenate([ends, ends[::-1]], axis=1)

    def symmetric(values: npt.NDArray[np.generic], of: Bools) -> csr_array:
        chosen = np.tile(of, 2)
        data = np.tile(values, 2)[chosen].astype(np.float64)
        return coo_array((data, tuple(both_ways[:, chosen])), shape=(images,) * 2).tocsr()

    first, second = ends[:, rows]
    sure = symmetric(np.ones(len(confidences)), confidences >= _COPY_OF_BOTH)
    common = _sums(sure[first], sure[second])
    compared = (confidences >= _COMPARABLE) | (other_content > _OTHER_CONTENT)
    weights = symmetric(confidences**_POWER, confidences >= _CLOSE)
    sides = _side(weights, first, second), _side(weights, second, first)
    asked, said = (
        _sums(sides[0] @ symmetric(values, compared), sides[1])
        for values in (np.ones(len(confidences)), confidences)
    )
    denied[rows] = (common == 0) & (asked > 1) & (said < _DENIED * asked)
    return denied


def _side(weights: csr_array, own: Ints, other: Ints) -> csr_array:
    """(m, images) how much each image counts as a copy of `own` (m,): itself fully, `other` not."""
    number = np.arange(len(own))
    shape = (len(own), weights.shape[0])
    itself = coo_array((np.ones(len(own)), (number, own)), shape=shape)
    paired = np.asarray(weights[own, other], np.float64).ravel()
    without = coo_array((paired, (number, other)), shape=shape)
    return cast("csr_array", (weights[own] + itself - without).tocsr())


def _sums(ours: csr_array, theirs: csr_array) -> Doubles:
    """(m,) the sums of the products of two rows each."""
    return np.asarray(ours.multiply(theirs).sum(axis=1), np.float64).ravel()
