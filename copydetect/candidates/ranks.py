"""Ranks of pairs among those of one image, by score."""

from __future__ import annotations

import numpy as np

from copydetect.types import Bools, Floats, Ints


def ranks_of(query: Ints, reference: Ints, score: Floats) -> Ints:
    """Rank of each pair among its query's, from 1; ties by reference. All of shape (n,)."""
    order = np.lexsort((reference, -score, query))
    starts = np.flatnonzero(run_starts(query[order]))
    sizes = np.diff(np.append(starts, len(query)))
    ranks = np.empty(len(query), np.int64)
    ranks[order] = np.arange(len(query)) - np.repeat(starts, sizes) + 1
    return ranks


def ranks_of_either(smaller: Ints, larger: Ints, score: Floats) -> Ints:
    """Rank of each unordered pair among all pairs of its first or second image, the better one."""
    both = ranks_of(
        np.concatenate([smaller, larger]),
        np.concatenate([larger, smaller]),
        np.concatenate([score, score]),
    )
    return np.minimum(both[: len(smaller)], both[len(smaller) :])


def run_starts(keys: Ints) -> Bools:
    """(n,) bool: where a key differs from the one before."""
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    return first
