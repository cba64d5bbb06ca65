"""Edits with other pictures: pasted over it, it pasted onto them, and several side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from copydetect.edits.edit import (
    MAX_PIXELS,
    Colour,
    Edit,
    Edited,
    Others,
    in_place,
    moved,
    within_limits,
)
from copydetect.edits.geometry import sample_colour
from copydetect.homographies import intersection, outline, project, scaling, shift
from copydetect.images.resizing import resized
from copydetect.types import Pixels


@dataclass(frozen=True)
class Overlay(Edit, kind="overlay"):
    """Another picture over this one; x, y: its centre; size: its long side over ours."""

    other: int
    x: float
    y: float
    size: float
    opacity: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Overlay:
        x, y = (float(value) for value in rng.uniform(0.1, 0.9, 2))
        size = float(rng.uniform(0.15, 0.3 + 0.4 * strength))
        opacity = float(rng.uniform(0.5, 0.9)) if rng.random() < 0.3 else 1.0
        return cls(int(rng.integers(2**31)), x, y, size, opacity)

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        other = other_picture(others, self.other)
        factor = self.size * max(width, height) / max(other.shape[:2])
        size = max(round(other.shape[1] * factor), 1), max(round(other.shape[0] * factor), 1)
        other = resized(other, *size)
        left, top = round(self.x * width - size[0] / 2), round(self.y * height - size[1] / 2)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + size[0], width), min(top + size[1], height)
        result, hidden = pixels.copy(), np.zeros((height, width), bool)
        if x0 < x1 and y0 < y1:
            part = other[y0 - top : y1 - top, x0 - left : x1 - left]
            under = result[y0:y1, x0:x1]
            mixed = cv2.addWeighted(part, self.opacity, under, 1 - self.opacity, 0)
            result[y0:y1, x0:x1] = mixed
            hidden[y0:y1, x0:x1] = self.opacity >= 0.5
        return in_place(result, hidden)


@dataclass(frozen=True)
class Onto(Edit, kind="onto"):
    """This picture on another one; x, y: where in the room that is left, 0 … 1.

    size: the larger of our width over theirs and our height over theirs.
    """

    other: int
    x: float
    y: float
    size: float
    opacity: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Onto:
        x, y = (float(value) for value in rng.uniform(0, 1, 2))
        size = float(rng.uniform(0.7 - 0.4 * strength, 0.9))
        opacity = float(rng.uniform(0.6, 0.95)) if rng.random() < 0.15 else 1.0
        return cls(int(rng.integers(2**31)), x, y, size, opacity)

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        other = other_picture(others, self.other)
        # The background is scaled so that pasting keeps about the size of the picture.
        factor = max(width / other.shape[1], height / other.shape[0]) / np.sqrt(self.size)
        full = within_limits(
            max(round(other.shape[1] * factor), 1), max(round(other.shape[0] * factor), 1)
        )
        canvas = resized(other, *full).copy()
        fit = self.size * min(full[0] / width, full[1] / height)
        size = max(round(width * fit), 1), max(round(height * fit), 1)
        left, top = round(self.x * (full[0] - size[0])), round(self.y * (full[1] - size[1]))
        part = canvas[top : top + size[1], left : left + size[0]]
        part[:] = cv2.addWeighted(resized(pixels, *size), self.opacity, part, 1 - self.opacity, 0)
        transform = shift(left, top) @ scaling((width, height), size)
        return moved(canvas, transform, (width, height))


@dataclass(frozen=True)
class Collage(Edit, kind="collage"):
    """Several pictures in rows of equal cells, this one in `cell`; each is cut to fill its cell.

    gap: between the cells, over the long side of the cells.
    """

    rows: int
    columns: int
    cell: int
    gap: float
    colour: Colour
    other: int

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Collage:
        grids = ((1, 2), (2, 1), (1, 3), (2, 2), (3, 2), (3, 3))
        rows, columns = grids[rng.integers(2 + round(4 * strength))]
        gap = float(rng.uniform(0, 0.05)) if rng.random() < 0.7 else 0.0
        cell = int(rng.integers(rows * columns))
        return cls(rows, columns, cell, gap, sample_colour(rng), int(rng.integers(2**31)))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        shape = np.clip(width / height, 0.6, 1.7)
        # As many pixels in all as two pictures have; a cell shrinks as their number grows.
        cell_area = min(2 * width * height, 0.7 * MAX_PIXELS) / (self.rows * self.columns)
        cell = max(round((cell_area * shape) ** 0.5), 1), max(round((cell_area / shape) ** 0.5), 1)
        gap = round(self.gap * max(cell))
        full = (
            cell[0] * self.columns + gap * (self.columns + 1),
            (cell[1] * self.rows + gap * (self.rows + 1)),
        )
        canvas = np.full((full[1], full[0], 3), self.colour, np.uint8)
        ours = None
        for number in range(self.rows * self.columns):
            row, column = divmod(number, self.columns)
            left, top = gap + column * (cell[0] + gap), gap + row * (cell[1] + gap)
            mine = number == self.cell
            picture = pixels if mine else other_picture(others, self.other + number)
            placed = fill(canvas, picture, (left, top, *cell))
            ours = placed if mine else ours
        if ours is None:
            raise ValueError(f"cell {self.cell} is not in {self.rows} × {self.columns}")
        return ours


def fill(canvas: Pixels, pixels: Pixels, slot: tuple[int, int, int, int]) -> Edited:
    """Draw the picture into a slot (left, top, width, height): scaled and cut to fill it.

    Changes the canvas, and returns it with the picture's transform and region.
    """
    left, top, width, height = slot
    old = (pixels.shape[1], pixels.shape[0])
    factor = max(width / old[0], height / old[1])
    # Only what the slot shows is scaled: a thin picture would grow beyond bounds.
    kept = min(max(round(width / factor), 1), old[0]), min(max(round(height / factor), 1), old[1])
    x, y = (old[0] - kept[0]) // 2, (old[1] - kept[1]) // 2
    part = np.ascontiguousarray(pixels[y : y + kept[1], x : x + kept[0]])
    canvas[top : top + height, left : left + width] = resized(part, width, height)
    transform = shift(left, top) @ scaling(kept, (width, height)) @ shift(-x, -y)
    frame = project(shift(left, top), outline(width, height))
    placed = moved(canvas, transform, old)
    return replace(placed, region=intersection(placed.region, frame))


def other_picture(others: Others, number: int) -> Pixels:
    """One of the others, of at most 2,048 px per side; a made-up one where there are none."""
    if not len(others):
        return made_up(number)
    other = others[number % len(others)]
    height, width = other.shape[:2]
    factor = min(2048 / max(height, width), 1)
    return resized(other, max(round(width * factor), 1), max(round(height * factor), 1))


def made_up(number: int) -> Pixels:
    """A soft pattern of a few colours, 192 × 192 px, of a given number."""
    rng = np.random.default_rng(number)
    side = int(rng.integers(2, 7))
    patches = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    mode = cv2.INTER_CUBIC if rng.random() < 0.7 else cv2.INTER_NEAREST
    return cv2.resize(patches, (192, 192), interpolation=mode).astype(np.uint8, copy=False)
