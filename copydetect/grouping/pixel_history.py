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

from copydetect.images.compression import (
    POSITIONS,
    STEPS,
    coarsest_steps,
    coefficients,
    combs,
    wave,
)

Floats = npt.NDArray[np.float32]

_WINDOW_PX = 1024
"""Side of the middle part that is looked at."""
_FACTORS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0)
_LOSES = 0.2
"""Of what the next octave holds: pictures as cameras and good reductions leave them lose .24 to .6
when they are reduced by 1.25, enlarged ones .2 and less."""

_BETWEEN_BLOCKS, _INSIDE_BLOCKS = 6, (0, 1, 2, 3, 4)
"""Second differences at the pixels before them; those beside a border hold half of its jump."""
_OF_EDGES, _PLAINLY = 4.0, 4.0
_USUAL_JUMP, _LARGE_JUMP, _MOST_BY_BLOCKS = 1.2, 2.5, 2.5
"""In steps: what one compression leaves (4 to 7 of 100 leave more than 2.5, and 45 of 100 that were
coarser before), and octaves."""
_SHIFTED_COMB = 0.3
"""Where blocks start at the corner, the others reach .1 to .2."""
_SHIFTED_POSITIONS = POSITIONS[:3]


@dataclass(frozen=True)
class PixelHistory:
    """What the pixels of a picture tell of its past.

    detail_factor: by how much it can be reduced without loss, 1…6; steps: of the coarsest JPEG that
    it has been, for each of `POSITIONS`, 1 where none shows; shifted: whether it shows the blocks
    of a JPEG that do not start at its corner; jump: as of `jump_between_blocks`.
    """

    detail_factor: float
    steps: tuple[int, ...]
    shifted: bool
    jump: float

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
    steps = coarsest_steps(coefficients(middle))
    known = sum(step > 1 for step in steps)
    shifted = known < len(steps) / 2 and _is_shifted(middle)
    return PixelHistory(detail_factor(middle), steps, shifted, jump_between_blocks(middle))


def earlier_steps(history: PixelHistory, own: tuple[int, ...]) -> float:
    """Octaves by which an earlier JPEG was coarser than the file's own steps, 0 if none shows.

    own: those of the file's table at `POSITIONS`, or ones. Its comb shows as long as little else
    was done to the picture, its blocks also below noise, blur and another codec.
    """
    octaves = np.log2(np.maximum(history.steps, own)) - np.log2(own)
    jump = history.jump / float(np.median(own))
    by_blocks = math.log2(jump / _USUAL_JUMP) if jump > _LARGE_JUMP else 0.0
    return max(float(np.median(octaves)), min(by_blocks, _MOST_BY_BLOCKS))


def jump_between_blocks(luma: Floats) -> float:
    """Grey levels: by how much pixels jump more between blocks that start at the corner than they
    do inside of these (root of mean squares); 0 where that may be chance."""
    between, within = 0.0, np.zeros(len(_INSIDE_BLOCKS))
    for grey in (luma, luma.T):
        steps = np.diff(grey, axis=1)
        jumps = np.abs(steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2)
        if jumps.shape[1] < 8:
            return 0.0
        # An edge of what is shown tells nothing of blocks.
        counted = jumps < _OF_EDGES * float(np.median(jumps[::4])) + 2
        jumps = np.where(counted, jumps, 0)
        squares = [
            float(np.square(jumps[:, place::8]).sum()) / max(int(counted[:, place::8].sum()), 1)
            for place in range(8)
        ]
        between += squares[_BETWEEN_BLOCKS] / 2
        within += np.array([squares[place] for place in _INSIDE_BLOCKS]) / 2
    surplus = between - float(within.mean())
    return math.sqrt(surplus) if surplus > _PLAINLY * (float(within.std()) + 1e-3) else 0.0


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
    places = (height // 8 * 8, width // 8 * 8)
    found = []
    for position in _SHIFTED_POSITIONS:
        filtered = cv2.filter2D(luma - 128, cv2.CV_32F, wave(position), anchor=(0, 0))
        blocks = filtered[: places[0], : places[1]].reshape(places[0] // 8, 8, places[1] // 8, 8)
        of_corners = blocks.transpose(1, 3, 0, 2).reshape(64, -1)
        found.append(np.nan_to_num(combs(of_corners[1:])[:, STEPS >= 3], nan=-1.0).max(axis=1))
    return bool((np.median(found, axis=0) > _SHIFTED_COMB).any())
