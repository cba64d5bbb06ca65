"""Pixels → traces of JPEG compression in them.

Compression leaves the coefficients of 8 × 8 blocks at multiples of its steps: a comb in their
histogram. A later one with finer steps, or a PNG, keeps that comb (double quantisation, Lukáš and
Fridrich, DFRWS 2003).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

BLOCK_PX = 8
POSITIONS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1))
"""(row, column) of the coefficients that are looked at: low, so that they are seldom 0."""
STEPS = np.arange(2, 61)
_LARGEST = 600
_PERIODS = 12
_FEWEST_BLOCKS = 30
_COMB = 0.4
"""Mean cosine of the coefficients' phase from which they are a comb: 1 on it, 0 for any."""


def wave(position: tuple[int, int]) -> Floats:
    """(8, 8) the basis picture of a coefficient of the orthonormal DCT."""
    places = np.arange(BLOCK_PX)
    waves = [
        np.cos((2 * places + 1) * at * math.pi / 16) * math.sqrt((1 if at == 0 else 2) / 8)
        for at in position
    ]
    return np.outer(*waves).astype(np.float32)


def coefficients(luma: Floats) -> Floats:
    """(blocks, len(POSITIONS)) of the blocks that start at the corner, row by row.

    luma: (h, w) grey levels 0…255.
    """
    height, width = (side // BLOCK_PX for side in luma.shape)
    whole = luma[: height * BLOCK_PX, : width * BLOCK_PX] - np.float32(128)
    blocks = whole.reshape(height, BLOCK_PX, width, BLOCK_PX).transpose(0, 2, 1, 3)
    return np.asarray(blocks.reshape(-1, BLOCK_PX**2) @ _WAVES, np.float32)


_WAVES = np.stack([wave(position).ravel() for position in POSITIONS], axis=1)


def own_steps(table: Sequence[int]) -> tuple[int, ...]:
    """The steps of a luminance table (64 numbers, row by row) at `POSITIONS`; ones without one."""
    if len(table) < BLOCK_PX**2:
        return (1,) * len(POSITIONS)
    return tuple(max(1, int(table[BLOCK_PX * row + column])) for row, column in POSITIONS)


def coarsest_step(values: Floats) -> int:
    """The largest quantisation step that the coefficients are multiples of; 1 where there is none.

    values: one coefficient of many blocks.
    """
    steps = STEPS[combs(values) > _COMB]
    return int(steps.max()) if len(steps) else 1


def combs(values: Floats) -> npt.NDArray[np.float64]:
    """(len(STEPS),) mean cosine of the phase of coefficients, without those around 0; NaN where
    these are too few to tell."""
    histogram = _histogram(values)
    counts, cosines = (_SUMMED @ histogram.astype(np.float64)).reshape(2, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts >= _FEWEST_BLOCKS, cosines / counts, np.nan)


def on_the_comb(values: Floats, step: int) -> npt.NDArray[np.bool_]:
    """Which coefficients are counted for a step: not those around 0, which lie on any comb."""
    sizes = np.abs(values)
    return np.asarray((sizes > step / 2) & (sizes < _PERIODS * step), np.bool_)


def _histogram(values: Floats) -> npt.NDArray[np.int64]:
    rounded = np.clip(np.rint(values), -_LARGEST, _LARGEST).astype(np.int64).ravel()
    return np.bincount(rounded + _LARGEST, minlength=2 * _LARGEST + 1)


_VALUES = np.arange(-_LARGEST, _LARGEST + 1)
_COUNTED = (np.abs(_VALUES) > STEPS[:, None] / 2) & (np.abs(_VALUES) < _PERIODS * STEPS[:, None])
_PHASES = np.where(_COUNTED, np.cos(2 * math.pi * _VALUES / STEPS[:, None]), 0.0)
_SUMMED = np.concatenate([_COUNTED, _PHASES])
