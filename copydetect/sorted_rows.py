"""Columns of rows that are sorted: runs of equal ones, what occurs, and ranges of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from copydetect.types import Bools, Ints


def begins_run(*columns: npt.NDArray[Any]) -> Bools:
    """(n,) bool: which rows differ from the one before. columns: at least one, (n,) each."""
    begins = np.zeros(len(columns[0]), np.bool_)
    begins[:1] = True
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    return begins


def place_in_run(*columns: npt.NDArray[Any]) -> Ints:
    """(n,) int64: how many equal rows are before each."""
    starts, rows = np.flatnonzero(begins_run(*columns)), len(columns[0])
    return np.arange(rows) - np.repeat(starts, np.diff(np.append(starts, rows)))


def is_among(asked: npt.NDArray[Any], known: npt.NDArray[Any]) -> Bools:
    """(n,) bool: which values are among some that are ascending. What `np.isin` tells, without
    sorting these again."""
    if not len(known):
        return np.zeros(len(asked), np.bool_)
    at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.asarray(known[at] == asked, np.bool_)


def ranges(starts: Ints, counts: Ints) -> Ints:
    """starts[0], starts[0] + 1, … counts[0] of them, then those from starts[1] on, …"""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))
