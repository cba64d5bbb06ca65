"""An edit: pixels in, pixels out, and the transform between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from copydetect.homographies import (
    Matrix,
    Polygon,
    intersection,
    outline,
    project,
    scaling,
)
from copydetect.images.resizing import resized
from copydetect.types import Bools, Pixels

Mask = Bools

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
    A subclass is a frozen dataclass, and names its kind: `class Blur(Edit, kind="blur")`.
    """

    kind: ClassVar[str]

    def __init_subclass__(cls, kind: str) -> None:
        cls.kind = kind

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Edit:
        """Draw the parameters, if there are any; strength 0 (mild) … 1 (severe)."""
        return cls()

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
