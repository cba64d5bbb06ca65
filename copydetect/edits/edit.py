"""What an edit is: pixels in, pixels out, and where each pixel went.

Coordinates are OpenCV's: x to the right, y down, the centre of the top left pixel is (0, 0), so an
image of width w reaches from -0.5 to w - 0.5.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.types import Pixels

Matrix = npt.NDArray[np.float64]
"""A homography: (3, 3) float64, acts on columns (x, y, 1)."""

Polygon = npt.NDArray[np.float64]
"""A convex polygon: (n, 2) float64, corners x, y in order; n = 0 where it is empty."""

Mask = npt.NDArray[np.bool_]

Colour = tuple[int, int, int]
"""RGB, 0…255 each."""

Others = Sequence[Pixels]
"""Other pictures, to paste or to paste onto; may load them on access. Empty: made-up ones serve."""

MAX_PIXELS = 64_000_000
MAX_SIDE_PX = 16_000
"""Limits of an edited image; the side is what WebP allows. Larger ones are scaled down to fit."""


@dataclass(frozen=True)
class Edited:
    """An image after one edit or several.

    pixels: (h, w, 3) uint8; transform: original px → edited px; region: the part of `pixels` that
    the original fills; covered: (h, w) bool, what was drawn over the original or scrambled, None
    where nothing was; edits: what was done, in order.

    `transform` may send parts of the original that were cropped away across its horizon: take only
    points whose image lies in `region`.
    """

    pixels: Pixels
    transform: Matrix
    region: Polygon
    covered: Mask | None = None
    edits: tuple[Edit, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the edits, in order."""
        return tuple(edit.kind for edit in self.edits)

    def mask(self) -> Mask:
        """(h, w) bool: where `pixels` shows the original, neither covered nor outside of it."""
        filled = np.zeros(self.pixels.shape[:2], np.uint8)
        if len(self.region):
            corners = np.round(self.region * 256).astype(np.int32)
            cv2.fillConvexPoly(filled, corners, (1,), lineType=cv2.LINE_8, shift=8)
        shown = filled.astype(bool)
        return shown if self.covered is None else shown & ~self.covered

    def original_region(self) -> Polygon:
        """The part of the original that is still to be seen, in px of the original."""
        inverse = np.linalg.inv(self.transform).astype(np.float64)
        return project(inverse, self.region)

    def then(self, edit: Edit, others: Others = ()) -> Edited:
        """This image after one more edit."""
        step = edit(self.pixels, others)
        return Edited(
            step.pixels,
            step.transform @ self.transform,
            intersection(project(step.transform, self.region), step.region),
            _union(self.covered, step),
            self.edits + step.edits,
        )


class Edit(ABC):
    """One edit with all its parameters: a function of an image, the same on every call.

    Lengths are shares of the image's size, so that the parameters mean the same for every image.
    A subclass is a frozen dataclass with a `kind`.
    """

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Edit:
        """Draw the parameters; strength 0 (mild) … 1 (severe)."""

    @abstractmethod
    def edit(self, pixels: Pixels, others: Others) -> Edited:
        """Do it, for an image within the limits; `edits` and the limits are the caller's part."""

    def __call__(self, pixels: Pixels, others: Others = ()) -> Edited:
        """Apply to (h, w, 3) uint8 pixels of any size ≥ 1 px. Never modifies its input."""
        height, width = pixels.shape[:2]
        fitted = within_limits(width, height)
        if fitted == (width, height):
            return replace(self.edit(pixels, others), edits=(self,))
        whole = self.edit(resized(pixels, *fitted), others)
        transform = whole.transform @ scaling((width, height), fitted)
        return replace(whole, transform=transform, edits=(self,))


def unedited(pixels: Pixels) -> Edited:
    """An image to which nothing was done: where a chain of edits starts."""
    return in_place(pixels)


def in_place(pixels: Pixels, covered: Mask | None = None) -> Edited:
    """The result of an edit that moves nothing."""
    return Edited(pixels, np.eye(3), outline(pixels.shape[1], pixels.shape[0]), covered)


def moved(pixels: Pixels, transform: Matrix, size: tuple[int, int]) -> Edited:
    """The result of an edit that only moves: `size` is (width, height) before it."""
    frame = outline(pixels.shape[1], pixels.shape[0])
    region = intersection(project(transform, outline(*size)), frame)
    return Edited(pixels, transform, region)


def within_limits(width: int, height: int) -> tuple[int, int]:
    """The largest size of the same shape that the limits allow."""
    excess = max((width * height / MAX_PIXELS) ** 0.5, width / MAX_SIDE_PX, height / MAX_SIDE_PX)
    if excess <= 1:
        return width, height
    return max(int(width / excess), 1), max(int(height / excess), 1)


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Scaled to width × height px: averaged when it shrinks, cubic when it grows."""
    old_height, old_width = pixels.shape[:2]
    if (width, height) == (old_width, old_height):
        return pixels
    shrinks = width * height < old_width * old_height
    mode = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(pixels, (width, height), interpolation=mode).astype(np.uint8, copy=False)


def scaling(before: tuple[int, int], after: tuple[int, int]) -> Matrix:
    """The transform of `resized` from one (width, height) to another."""
    x, y = after[0] / before[0], after[1] / before[1]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def shift(x: float, y: float) -> Matrix:
    """The transform that moves by x, y px."""
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def outline(width: int, height: int) -> Polygon:
    """The four corners of an image, clockwise on the screen from the top left."""
    right, bottom = width - 0.5, height - 0.5
    return np.array([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]])


def project(transform: Matrix, points: Polygon) -> Polygon:
    """Points (n, 2) through a homography."""
    homogeneous = points @ transform[:, :2].T + transform[:, 2]
    projected: Polygon = homogeneous[:, :2] / homogeneous[:, 2:]
    return projected


def area(polygon: Polygon) -> float:
    """Area of a polygon in px² (the shoelace formula)."""
    x, y = polygon[:, 0], polygon[:, 1]
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def intersection(polygon: Polygon, frame: Polygon) -> Polygon:
    """What two convex polygons share (Sutherland and Hodgman 1974), in the order of the first."""
    x, y = frame[:, 0], frame[:, 1]
    turn = 1 if x @ np.roll(y, -1) >= y @ np.roll(x, -1) else -1
    for start, end in zip(frame, np.roll(frame, -1, axis=0), strict=True):
        if not len(polygon):
            break
        edge = (end - start) * turn
        offset = polygon - start
        inside = edge[0] * offset[:, 1] - edge[1] * offset[:, 0]
        polygon = _clipped(polygon, inside)
    return polygon


def _clipped(polygon: Polygon, inside: npt.NDArray[np.float64]) -> Polygon:
    """The part of a polygon where `inside`, given at its corners, is not negative."""
    kept = []
    for i in range(len(polygon)):
        before = i - 1
        if (inside[i] < 0) != (inside[before] < 0):
            part = inside[before] / (inside[before] - inside[i])
            kept.append(polygon[before] + part * (polygon[i] - polygon[before]))
        if inside[i] >= 0:
            kept.append(polygon[i])
    return np.array(kept).reshape(-1, 2)


def _union(covered: Mask | None, step: Edited) -> Mask | None:
    """What was covered before the step or by it, in the step's pixels."""
    if covered is None:
        return step.covered
    height, width = step.pixels.shape[:2]
    if (width, height) == covered.shape[::-1] and np.array_equal(step.transform, np.eye(3)):
        carried = covered
    else:
        warped = cv2.warpPerspective(
            covered.astype(np.uint8), step.transform, (width, height), flags=cv2.INTER_NEAREST
        )
        carried = warped.astype(bool)
    return carried if step.covered is None else carried | step.covered
