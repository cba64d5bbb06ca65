"""Ranks of pairs among those of one image, by score."""

from __future__ import annotations

import numpy as np

from copydetect.sorted_rows import place_in_run
from copydetect.types import Floats, Ints


def ranks_of(query: Ints, reference: Ints, score: Floats) -> Ints:
    """Rank of each pair among its query's, from 1; ties by reference. All of shape (n,)."""
    order = np.lexsort((reference, -score, query))
    ranks = np.empty(len(query), np.int64)
    ranks[order] = place_in_run(query[order]) + 1
    return ranks


def ranks_of_either(smaller: Ints, larger: Ints, score: Floats) -> Ints:
    """Rank of each unordered pair among all pairs of its first or second image, the better one."""
    both = ranks_of(
        np.concatenate([smaller, larger]),
        np.concatenate([larger, smaller]),
        np.concatenate([score, score]),
    )
    return np.minimum(both[: len(smaller)], both[len(smaller) :])
