"""Counts, shares and percentiles of the places of a picture: what numpy has for them is slower."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def percentiles_of(values: npt.ArrayLike, *wanted: float) -> list[float]:
    """As `np.percentile`, by sorting, which takes a third of the time."""
    ordered = np.sort(values)
    at = np.array(wanted) / 100 * (len(ordered) - 1)
    found: list[float] = np.interp(at, np.arange(len(ordered)), ordered).tolist()
    return found


def number_of(marked: npt.NDArray[np.bool_]) -> int:
    """How many places are marked."""
    return int(np.count_nonzero(marked))


def share_of(marked: npt.NDArray[np.bool_]) -> float:
    """The part of the places that are marked."""
    return number_of(marked) / max(marked.size, 1)


def share_of_mode(levels: npt.NDArray[np.float32]) -> float:
    """The part of the pixels that have the commonest level, or one beside it."""
    counts = np.bincount(np.clip(levels, 0, 255).astype(np.int64) // 6, minlength=43)
    return float(np.convolve(counts, [1, 1, 1], "same").max() / max(len(levels), 1))
