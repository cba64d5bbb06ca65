"""Two pictures and a transform → the middle of what both show, laid on the blocks of the first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix, inverse, outline, project
from copydetect.images.compression import BLOCK_PX
from copydetect.types import Pixels
from copydetect.verification.pair_images import Floats

_WINDOW_PX = 384
"""Side of the part that is looked at, at most."""
_OFF_PX = 0.6
"""By how much a transform may differ from one that moves whole pixels, in that part."""
_OFF_RESIZE_PX = 1.5
"""By how much it may differ from a resize of the whole picture, in px of the larger one."""
_MOST_RESIZED = 3.0
"""Beyond this a block of one is too few pixels of the other to keep its coefficients."""
_LEAST_PX = 64
_KERNEL_PX = 6
"""What interpolation reads beside a place, at most."""


@dataclass(frozen=True)
class SharedWindow:
    """A part of one picture that begins with a block, and where it lies in another one.

    left, top, width, height: in px of the first; matrix: (3, 3) px of the part → px of the second,
    affine; whole: whether pixels lie on pixels.
    """

    left: int
    top: int
    width: int
    height: int
    matrix: Matrix
    whole: bool

    @property
    def scale(self) -> float:
        """Px of the second for one of the first."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix[:2, :2]))))

    @property
    def shares_blocks(self) -> bool:
        """Whether the blocks of both are in the same places."""
        ends = project(self.matrix, np.array([[0, 0], [BLOCK_PX - 1, BLOCK_PX - 1]]))
        return self.whole and not (ends.min(axis=0) % BLOCK_PX).any()

    def of_first(self, pixels: Pixels) -> Pixels:
        """The part itself."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def of_second(self, pixels: Pixels) -> Floats:
        """(height, width, 3) the second picture as it lies on the part."""
        if self.whole:
            return self._laid(pixels, cv2.INTER_NEAREST, 1)
        finer = max(1, round(self.scale))
        kernel = cv2.INTER_LANCZOS4 if finer == 1 else cv2.INTER_LINEAR  # then means of several
        laid = self._laid(pixels, kernel, finer)
        size = self.width, self.height
        return np.asarray(cv2.resize(laid, size, interpolation=cv2.INTER_AREA), np.float32)

    def _laid(self, pixels: Pixels, interpolation: int, finer: int) -> Floats:
        """With `finer` px for each of the part."""
        middle = (1 / finer - 1) / 2
        to_part = np.array([[1 / finer, 0, middle], [0, 1 / finer, middle], [0, 0, 1]])
        moves = self.matrix @ to_part
        size = (self.width * finer, self.height * finer)
        ends = project(moves, outline(*size))
        left, top = np.maximum(np.floor(ends.min(axis=0)) - _KERNEL_PX, 0).astype(int)
        right, bottom = (np.ceil(ends.max(axis=0)) + _KERNEL_PX).astype(int)
        moves[:2, 2] -= left, top
        flags = interpolation | cv2.WARP_INVERSE_MAP
        part = pixels[top:bottom, left:right].astype(np.float32)
        laid = cv2.warpAffine(part, moves[:2], size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(laid, np.float32)


def shared_window(matrix: Matrix, first: Pixels, second: Pixels) -> SharedWindow | None:
    """The middle of what both show; None where it is small, or neither pixels lie on pixels nor
    one picture is the other resized.

    matrix: px of the first → px of the second.
    """
    height, width = first.shape[:2]
    whole = _whole(matrix, np.array([[width / 2, height / 2]]))
    if whole is not None:
        found = _window(whole, first, second, True)
        if found is not None and _farthest(matrix, whole, found) <= _OFF_PX:
            return found
    resize = _resize(matrix, first, second)
    if resize is None:
        return None
    return _window(resize, first, second, bool((resize == np.rint(resize)).all()))


def _window(matrix: Matrix, first: Pixels, second: Pixels, whole: bool) -> SharedWindow | None:
    height, width = first.shape[:2]
    shared = project(inverse(matrix), outline(second.shape[1], second.shape[0])) + 0.5
    low = np.maximum(np.rint(shared.min(axis=0)), 0)
    high = np.minimum(np.rint(shared.max(axis=0)), [width, height])
    low += np.maximum(high - low - _WINDOW_PX, 0) // 2
    low = -(-low // BLOCK_PX) * BLOCK_PX
    size = np.minimum(high - low, _WINDOW_PX) // BLOCK_PX * BLOCK_PX
    if size.min() < _LEAST_PX:
        return None
    (left, top), (across, down) = low.astype(int).tolist(), size.astype(int).tolist()
    moved = matrix.copy()
    moved[:2, 2] += matrix[:2, :2] @ low
    return SharedWindow(left, top, across, down, moved, whole)


def _whole(matrix: Matrix, middle: npt.NDArray[np.float64]) -> Matrix | None:
    """The nearest transform that moves whole pixels; None where another one is meant."""
    linear = np.rint(matrix[:2, :2])
    if abs(round(float(np.linalg.det(linear)))) != 1:
        return None
    found = np.eye(3)
    found[:2, :2] = linear
    found[:2, 2] = np.rint(project(matrix, middle)[0] - linear @ middle[0])
    return found


def _farthest(matrix: Matrix, other: Matrix, window: SharedWindow) -> float:
    """By how many px two transforms differ in a window."""
    size = np.array([window.width, window.height])
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size + [window.left, window.top]
    return float(np.abs(project(matrix, corners) - project(other, corners)).max())


def _resize(matrix: Matrix, first: Pixels, second: Pixels) -> Matrix | None:
    """The resize of the whole picture, mirrored or turned, that a transform is nearest to."""
    sizes = [np.array([one.shape[1], one.shape[0]], np.float64) for one in (first, second)]
    linear = matrix[:2, :2]
    turned = np.abs(linear) > 0.5 * np.abs(linear).max()
    if (turned.sum(axis=0) != 1).any() or (turned.sum(axis=1) != 1).any():
        return None
    linear = np.sign(linear) * turned
    scales = sizes[1] / (turned @ sizes[0])
    if max(scales.max(), 1 / scales.min()) > _MOST_RESIZED:
        return None
    found = np.eye(3)
    found[:2, :2] = scales[:, None] * linear
    middles = [(size - 1) / 2 for size in sizes]
    found[:2, 2] = middles[1] - found[:2, :2] @ middles[0]
    corners = outline(first.shape[1], first.shape[0])
    off = float(np.abs(project(matrix, corners) - project(found, corners)).max())
    return found if off <= _OFF_RESIZE_PX * max(1.0, float(scales.max())) else None
