"""Counts, shares and percentiles of the places of a picture: what numpy has for them is slower."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LEVELS_PER_BIN = 6


def percentiles_of(values: npt.ArrayLike, *wanted: float) -> list[float]:
    """As `np.percentile`, of which only what is wanted is put in order."""
    seen = np.asarray(values)
    at = np.array(wanted) / 100 * (len(seen) - 1)
    below, above = np.floor(at).astype(np.int64), np.ceil(at).astype(np.int64)
    ordered = np.partition(seen, np.unique([below, above]))
    low, high = ordered[below], ordered[above]
    found: list[float] = (low + (at - below) * (high - low)).tolist()
    return found


def number_of(marked: npt.NDArray[np.bool_]) -> int:
    """How many places are marked."""
    return int(np.count_nonzero(marked))


def share_of(marked: npt.NDArray[np.bool_]) -> float:
    """The part of the places that are marked."""
    return number_of(marked) / max(marked.size, 1)


def mode_of(levels: npt.NDArray[np.float32]) -> tuple[float, float]:
    """The commonest grey level, and the part of the pixels that have it or one beside it."""
    counts = np.bincount(np.clip(levels, 0, 255).astype(np.int64) // _LEVELS_PER_BIN, minlength=43)
    with_next = np.convolve(counts, [1, 1, 1], "same")
    level = (float(with_next.argmax()) + 0.5) * _LEVELS_PER_BIN
    return level, float(with_next.max()) / max(len(levels), 1)
