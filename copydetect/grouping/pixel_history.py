"""Pixels of one picture → traces of its history: how much real detail it has, and earlier JPEG
compressions.

Detail: what was enlarged or blurred loses nothing when it is reduced and enlarged again.

Earlier JPEGs: a later one with finer steps, or a PNG, keeps the comb that compression leaves (see
`images.compression`). What was cut out of a JPEG, or mirrored, has it in blocks that do not start
at its corner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.images.compression import POSITIONS, STEPS, coarsest_step, coefficients, combs, wave

Floats = npt.NDArray[np.float32]

_WINDOW_PX = 1024
"""Side of the middle part that is looked at."""
_FACTORS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0)
_LOSES = 0.2
"""Of what the next octave holds: pictures as cameras and good reductions leave them lose .24 to .6
when they are reduced by 1.25, enlarged ones .2 and less."""

_SHIFTED_COMB = 0.3
"""Where blocks start at the corner, the others reach .1 to .2."""
_SHIFTED_POSITIONS = POSITIONS[:3]


@dataclass(frozen=True)
class PixelHistory:
    """What the pixels of a picture tell of its past.

    detail_factor: by how much it can be reduced without loss, 1…6; steps: of the coarsest JPEG that
    it has been, for each of `POSITIONS`, 1 where none shows; shifted: whether it shows the blocks
    of a JPEG that do not start at its corner.
    """

    detail_factor: float
    steps: tuple[int, ...]
    shifted: bool

    @property
    def coarseness(self) -> float:
        """log2 of the usual step, 0 for a picture that was never a JPEG."""
        return float(np.median(np.log2(self.steps)))


def middle_of(width_px: int, height_px: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part that is looked at; blocks start at its corner."""
    left, top = (max(0, (side - _WINDOW_PX) // 2) // 8 * 8 for side in (width_px, height_px))
    return left, top, min(left + _WINDOW_PX, width_px), min(top + _WINDOW_PX, height_px)


def pixel_history(luma: npt.NDArray[np.uint8]) -> PixelHistory:
    """luma: (h, w) uint8 brightness of the middle part at full size, not turned."""
    middle = luma.astype(np.float32)
    found = coefficients(middle)
    steps = tuple(coarsest_step(found[:, number]) for number in range(len(POSITIONS)))
    known = sum(step > 1 for step in steps)
    shifted = known < len(steps) / 2 and _is_shifted(middle)
    return PixelHistory(detail_factor(middle), steps, shifted)


def earlier_steps(steps: tuple[int, ...], own: tuple[int, ...]) -> float:
    """Octaves by which an earlier JPEG was coarser than the file's own steps, 0 if none shows.

    steps: as in `PixelHistory`; own: those of the file's table at the same positions, or ones.
    """
    octaves = np.log2(np.maximum(steps, own)) - np.log2(own)
    return float(np.median(octaves))


def detail_factor(luma: Floats) -> float:
    """By how much a picture can be reduced without loss, interpolated in octaves."""
    before, factor = 0.0, 1.0
    for smaller, larger in pairwise(_FACTORS):
        lost = _lost(luma, larger)
        if lost >= _LOSES:
            share = (_LOSES - before) / max(lost - before, 1e-6) if before else 0.0
            return float(2 ** (math.log2(smaller) + share * math.log2(larger / smaller)))
        before, factor = lost, larger
    return factor


def _lost(luma: Floats, factor: float) -> float:
    """What a picture loses by a reduction, as a part of what the octave beyond holds."""
    height, width = luma.shape
    size = max(1, round(width / factor)), max(1, round(height / factor))
    small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    again = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    beyond = float(np.abs(luma - cv2.GaussianBlur(luma, (0, 0), 2 * factor)).mean())
    return float(np.abs(luma - again).mean()) / max(beyond, 0.05)


def _is_shifted(luma: Floats) -> bool:
    """Whether some blocks that don't start at the corner show combs."""
    height, width = (side - 7 for side in luma.shape)
    if min(height, width) < 64:
        return False
    filtered = [
        np.asarray(cv2.filter2D(luma - 128, cv2.CV_32F, wave(position), anchor=(0, 0)), np.float32)[
            :height, :width
        ]
        for position in _SHIFTED_POSITIONS
    ]
    coarse = STEPS >= 3
    for top in range(8):
        for left in range(8):
            found = [combs(one[top::8, left::8])[coarse] for one in filtered]
            best = [np.nanmax(np.where(np.isnan(comb), -1, comb)) for comb in found]
            if (top or left) and np.median(best) > _SHIFTED_COMB:
                return True
    return False
