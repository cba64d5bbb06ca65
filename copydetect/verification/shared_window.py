"""Two pictures and a transform → the middle of what both show, laid on the blocks of the first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix, inverse, outline, project, shift
from copydetect.images.compression import BLOCK_PX
from copydetect.types import Pixels
from copydetect.verification.pair_images import Floats

_WINDOW_PX = 384
"""Side of the part that is looked at, at most."""
_OFF_PX = 0.75
"""By how much a transform may differ from one that moves whole pixels, in that part."""
_MOST_RESIZED = 3.0
"""Beyond this a block of one is too few pixels of the other to keep its coefficients."""
_LEAST_PX = 64
_KERNEL_PX = 6
"""What interpolation reads beside a place, at most."""


@dataclass(frozen=True, eq=False)
class SharedWindow:
    """A part of one picture that begins with a block, and where it lies in another one.

    left, top, width, height: in px of the first; matrix: (3, 3) px of the part → px of the second;
    whole: whether pixels lie on pixels; scale: px of the second for one of the first; blocks:
    (h / 8, w / 8) bool, those that the second shows whole; corner: (left, top) of what `near` cuts
    out of the second.
    """

    left: int
    top: int
    width: int
    height: int
    matrix: Matrix
    whole: bool
    scale: float
    blocks: npt.NDArray[np.bool_]
    corner: tuple[int, int]

    @property
    def shares_blocks(self) -> bool:
        """Whether the blocks of both are in the same places."""
        ends = project(self.matrix, np.array([[0, 0], [BLOCK_PX - 1, BLOCK_PX - 1]]))
        return self.whole and not (np.rint(ends.min(axis=0)) % BLOCK_PX).any()

    @property
    def turned(self) -> bool:
        """Whether rows of the one are columns of the other."""
        return bool(abs(self.matrix[0, 1]) > abs(self.matrix[0, 0]))

    def of_first(self, pixels: Pixels) -> Pixels:
        """The part itself."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def near(self, pixels: Pixels) -> Pixels:
        """What the second shows there, and a little around it, as it is."""
        left, top = self.corner
        right, bottom = np.ceil(self._ends().max(axis=0)).astype(int) + _KERNEL_PX
        return pixels[top:bottom, left:right]

    def sampled(self, near: Floats, places: npt.NDArray[np.float64]) -> Floats:
        """(n, channels) of what `near` gave, at (n, 2) places of the part."""
        at = project(self._to_near(), places).astype(np.float32)
        found = cv2.remap(
            near, at[:, :1], at[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(found, np.float32).reshape(len(places), -1)

    def laid(self, near: Floats) -> Floats:
        """(height, width) what `near` gave, of one channel, as it lies on the part."""
        finer = 1 if self.whole else max(1, round(self.scale))
        kernel = cv2.INTER_NEAREST if self.whole else cv2.INTER_CUBIC
        kernel = cv2.INTER_LINEAR if finer > 1 else kernel  # then means of several
        middle = (1 / finer - 1) / 2
        to_part = np.array([[1 / finer, 0, middle], [0, 1 / finer, middle], [0, 0, 1]])
        found = cv2.warpPerspective(
            near,
            self._to_near() @ to_part,
            (self.width * finer, self.height * finer),
            flags=kernel | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if finer > 1:
            found = cv2.resize(found, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return np.asarray(found, np.float32)

    def _ends(self) -> npt.NDArray[np.float64]:
        return project(self.matrix, outline(self.width, self.height))

    def _to_near(self) -> Matrix:
        left, top = self.corner
        return shift(-left, -top) @ self.matrix


def shared_window(matrix: Matrix, first: Pixels, second: Pixels) -> SharedWindow | None:
    """The middle of what both show; None where it is small, or one picture is far larger.

    matrix: px of the first → px of the second.
    """
    height, width = first.shape[:2]
    shared = project(inverse(matrix), outline(second.shape[1], second.shape[0])) + 0.5
    low = np.maximum(np.rint(shared.min(axis=0)), 0)
    high = np.minimum(np.rint(shared.max(axis=0)), [width, height])
    low += np.maximum(high - low - _WINDOW_PX, 0) // 2
    low = -(-low // BLOCK_PX) * BLOCK_PX
    size = np.minimum(high - low, _WINDOW_PX) // BLOCK_PX * BLOCK_PX
    if size.min() < _LEAST_PX:
        return None
    moved = matrix @ shift(*low)
    moved /= moved[2, 2]
    nearest = _whole(moved, size / 2)
    whole = nearest is not None and _farthest(moved, nearest, size) <= _OFF_PX
    moved = nearest if nearest is not None and whole else moved
    scale = _scale(moved, size / 2)
    if not 1 / _MOST_RESIZED <= scale <= _MOST_RESIZED:
        return None
    (left, top), (across, down) = low.astype(int).tolist(), size.astype(int).tolist()
    ends = np.floor(project(moved, outline(across, down)).min(axis=0)).astype(int) - _KERNEL_PX
    corner = int(max(ends[0], 0)), int(max(ends[1], 0))
    blocks = _shown(moved, (across, down), second, 0 if whole else 1)
    return SharedWindow(left, top, across, down, moved, whole, scale, blocks, corner)


def _whole(matrix: Matrix, middle: npt.NDArray[np.float64]) -> Matrix | None:
    """The nearest transform that moves whole pixels; None where another one is meant."""
    linear = np.rint(matrix[:2, :2])
    if abs(round(float(np.linalg.det(linear)))) != 1:
        return None
    found = np.eye(3)
    found[:2, :2] = linear
    found[:2, 2] = np.rint(project(matrix, middle[None])[0] - linear @ middle)
    return found


def _farthest(matrix: Matrix, other: Matrix, size: npt.NDArray[np.float64]) -> float:
    """By how many px two transforms differ in a part of this (width, height)."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size
    return float(np.abs(project(matrix, corners) - project(other, corners)).max())


def _scale(matrix: Matrix, middle: npt.NDArray[np.float64]) -> float:
    ends = project(matrix, middle + np.array([[0, 0], [1, 0], [0, 1]]))
    return math.sqrt(abs(float(np.linalg.det(ends[1:] - ends[0]))))


def _shown(
    matrix: Matrix, size: tuple[int, int], second: Pixels, margin_px: float
) -> npt.NDArray[np.bool_]:
    """(h / 8, w / 8) which blocks of a part of this (width, height) the second shows whole."""
    across, down = (np.arange(0, side + 1, BLOCK_PX) - 0.5 for side in size)
    ends = project(matrix, np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2))
    limits = np.array([second.shape[1], second.shape[0]]) - 0.5 - margin_px
    seen = ((ends >= margin_px - 0.51) & (ends <= limits + 0.01)).all(axis=1)
    seen = seen.reshape(len(down), len(across))
    return np.asarray(seen[:-1, :-1] & seen[1:, :-1] & seen[:-1, 1:] & seen[1:, 1:], np.bool_)
