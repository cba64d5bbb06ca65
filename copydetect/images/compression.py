"""Pixels → traces of JPEG compression in them.

Compression leaves the coefficients of 8 × 8 blocks at multiples of its steps: a comb in their
histogram. A later one with finer steps, or a PNG, keeps that comb (double quantisation, Lukáš and
Fridrich, DFRWS 2003).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from copydetect.types import Bools, Floats, Ints

Positions = Sequence[tuple[int, int]]

BLOCK_PX = 8
POSITIONS: Positions = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1))
"""(row, column) of the coefficients that are looked at: low, so that they are seldom 0."""
STEPS = np.arange(2, 61)
_LARGEST = 600
_PERIODS = 12
_FEWEST_BLOCKS = 30
_COMB = 0.4
"""Mean cosine of the coefficients' phase from which they are a comb: 1 on it, 0 for any."""


def wave(position: tuple[int, int]) -> Floats:
    """(8, 8) the basis picture of a coefficient of the orthonormal DCT."""
    return np.outer(*(_cosines(frequency) for frequency in position))


def coefficients(luma: Floats, positions: Positions = POSITIONS) -> Floats:
    """(blocks, len(positions)) of the blocks that start at the corner, row by row.

    luma: (h, w) grey levels 0…255.
    """
    down, right = np.array(positions).T
    frequencies = _FREQUENCIES[: 1 + max(map(max, positions))]
    height, width = (side // BLOCK_PX for side in luma.shape)
    whole = luma[: height * BLOCK_PX, : width * BLOCK_PX] - np.float32(128)
    # Along the rows, then along the columns: the transform is separable.
    count = len(frequencies)
    across = whole.reshape(height * BLOCK_PX * width, BLOCK_PX) @ frequencies.T
    both = frequencies @ across.reshape(height, BLOCK_PX, width * count)
    every = both.reshape(height, count, width, count).transpose(0, 2, 1, 3)
    return np.asarray(every[:, :, down, right].reshape(height * width, len(down)), np.float32)


def _cosines(frequency: int) -> Floats:
    """(8,) one row of the orthonormal DCT."""
    angles = (2 * np.arange(BLOCK_PX) + 1) * frequency * math.pi / 16
    size = math.sqrt((1 if frequency == 0 else 2) / BLOCK_PX)
    return np.asarray(size * np.cos(angles), np.float32)


_FREQUENCIES = np.stack([_cosines(number) for number in range(BLOCK_PX)])


def own_steps(table: Sequence[int], positions: Positions = POSITIONS) -> tuple[int, ...]:
    """The steps of a luminance table (64 numbers, row by row) at positions; ones without one."""
    if len(table) < BLOCK_PX**2:
        return (1,) * len(positions)
    return tuple(max(1, int(table[BLOCK_PX * row + column])) for row, column in positions)


def coarsest_steps(values: Floats) -> tuple[int, ...]:
    """The largest quantisation step that each column is multiples of; 1 where there is none.

    values: (blocks, coefficients).
    """
    found = combs(values.T) > _COMB
    return tuple(int(STEPS[row].max(initial=1)) for row in found)


def combs(values: Floats) -> Floats:
    """(n, len(STEPS)) mean cosine of the phase of coefficients, without those around 0; NaN where
    these are too few to tell.

    values: (n, blocks).
    """
    histograms = _histograms(values).astype(np.float32)
    counts, cosines = (histograms @ _SUMMED.T).reshape(len(values), 2, -1).swapaxes(0, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts >= _FEWEST_BLOCKS, cosines / counts, np.nan)


def on_the_comb(values: Floats, step: int) -> Bools:
    """Which coefficients are counted for a step: not those around 0, which lie on any comb."""
    sizes = np.abs(values)
    return np.asarray((sizes > step / 2) & (sizes < _PERIODS * step), np.bool_)


def _histograms(values: Floats) -> Ints:
    """(n, 2 · _LARGEST + 1) of the rounded values of each row."""
    places = np.clip(np.rint(values), -_LARGEST, _LARGEST).astype(np.int64) + _LARGEST
    kinds = 2 * _LARGEST + 1
    places += kinds * np.arange(len(values))[:, None]
    return np.bincount(places.ravel(), minlength=kinds * len(values)).reshape(-1, kinds)


_VALUES = np.arange(-_LARGEST, _LARGEST + 1)
_COUNTED = (np.abs(_VALUES) > STEPS[:, None] / 2) & (np.abs(_VALUES) < _PERIODS * STEPS[:, None])
_PHASES = np.where(_COUNTED, np.cos(2 * math.pi * _VALUES / STEPS[:, None]), 0.0)
_SUMMED = np.concatenate([_COUNTED, _PHASES]).astype(np.float32)
