"""Edits that move pixels: crop, scale, aspect, flips, rotations, perspective, skew, padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from copydetect.edits.edit import Colour, Edit, Edited, Others, moved, within_limits
from copydetect.homographies import Matrix, outline, project, scaling, shift
from copydetect.images.resizing import resized
from copydetect.types import Pixels

Edge = Literal["black", "white", "replicate", "reflect"]
_BORDERS = {"replicate": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT_101}


@dataclass(frozen=True)
class Crop(Edit, kind="crop"):
    """Keeps a rectangle: its left, top, width and height as shares of the image's size."""

    left: float
    top: float
    width: float
    height: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Crop:
        share = rng.uniform(0.75 - 0.6 * strength, 0.95 - 0.25 * strength)
        stretch = np.exp(rng.uniform(-0.35, 0.35))
        width = float(min(np.sqrt(share * stretch), 1))
        height = float(min(np.sqrt(share / stretch), 1))
        return cls(rng.uniform(0, 1 - width), rng.uniform(0, 1 - height), width, height)

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        left, right = _span(self.left, self.width, width)
        top, bottom = _span(self.top, self.height, height)
        kept = np.ascontiguousarray(pixels[top:bottom, left:right])
        return moved(kept, shift(-left, -top), (width, height))


@dataclass(frozen=True)
class Scale(Edit, kind="scale"):
    """Makes the image smaller or larger by a factor."""

    factor: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Scale:
        return cls(float(np.exp(rng.uniform(np.log(0.7 - 0.5 * strength), np.log(1.5)))))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        return _stretched(pixels, self.factor, self.factor)


@dataclass(frozen=True)
class Aspect(Edit, kind="aspect"):
    """Changes width / height by a factor at the same area."""

    factor: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Aspect:
        amount = rng.uniform(0.1, 0.25 + 0.55 * strength)
        return cls(float(np.exp(amount if rng.random() < 0.5 else -amount)))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        return _stretched(pixels, self.factor**0.5, self.factor**-0.5)


@dataclass(frozen=True)
class FlipHorizontal(Edit, kind="hflip"):
    """Mirrors left and right."""

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        transform = np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]])
        return moved(np.ascontiguousarray(pixels[:, ::-1]), transform, (width, height))


@dataclass(frozen=True)
class FlipVertical(Edit, kind="vflip"):
    """Mirrors top and bottom."""

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        transform = np.array([[1.0, 0, 0], [0, -1, height - 1], [0, 0, 1]])
        return moved(np.ascontiguousarray(pixels[::-1]), transform, (width, height))


@dataclass(frozen=True)
class QuarterTurn(Edit, kind="rot90"):
    """Turns counter-clockwise by 1, 2 or 3 quarters."""

    turns: int

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> QuarterTurn:
        return cls(int(rng.integers(1, 4)))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        transform = np.eye(3)
        for turn in range(self.turns % 4):
            across = (width, height)[turn % 2]
            transform = np.array([[0.0, 1, 0], [-1, 0, across - 1], [0, 0, 1]]) @ transform
        turned = np.ascontiguousarray(np.rot90(pixels, self.turns))
        return moved(turned, transform, (width, height))


@dataclass(frozen=True)
class Rotate(Edit, kind="rotate"):
    """Rotates counter-clockwise by any angle.

    frame: "grow" shows all of it, "same" keeps the size and cuts the corners off, "inside" shows
    the largest rectangle that holds nothing but picture.
    """

    degrees: float
    frame: Literal["grow", "same", "inside"] = "grow"
    edge: Edge = "black"

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Rotate:
        degrees = rng.uniform(2, 12 + 38 * strength) * (1 if rng.random() < 0.5 else -1)
        frames: tuple[Literal["grow", "same", "inside"], ...] = ("grow", "same", "inside")
        frame = frames[rng.integers(3)]
        edges: tuple[Edge, ...] = ("black", "black", "white", "replicate", "reflect")
        return cls(float(degrees), frame, edges[rng.integers(5)])

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        angle = np.deg2rad(self.degrees)
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        if self.frame == "grow":
            spread = np.ptp(project(turn, outline(width, height)), axis=0)
            new_width, new_height = float(spread[0]), float(spread[1])
        elif self.frame == "same":
            new_width, new_height = width, height
        else:
            new_width, new_height = inner_size(width, height, angle)
        size = max(round(new_width), 1), max(round(new_height), 1)
        centred = shift((size[0] - 1) / 2, (size[1] - 1) / 2)
        transform = centred @ turn @ shift(-(width - 1) / 2, -(height - 1) / 2)
        return warped(pixels, transform, size, self.edge)


@dataclass(frozen=True)
class Perspective(Edit, kind="perspective"):
    """Moves the four corners inwards, each by its own shares (x, y) of the image's size.

    corners: top left, top right, bottom right, bottom left; all in 0 … 0.45.
    """

    corners: tuple[tuple[float, float], ...]
    edge: Edge = "black"

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Perspective:
        shares = rng.uniform(0, 0.08 + 0.27 * strength, (4, 2))
        edges: tuple[Edge, ...] = ("black", "white", "replicate", "reflect")
        corners = tuple((float(x), float(y)) for x, y in shares)
        return cls(corners, edges[rng.integers(4)])

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        frame = outline(width, height)
        inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        moves = np.array(self.corners) * inwards * (width, height)
        target = frame + moves
        transform = cv2.getPerspectiveTransform(frame.astype(np.float32), target.astype(np.float32))
        return warped(pixels, transform.astype(np.float64), (width, height), self.edge)


@dataclass(frozen=True)
class Skew(Edit, kind="skew"):
    """Shears: x moves by `across` times y, y by `down` times x; the frame grows to hold it."""

    across: float
    down: float
    edge: Edge = "black"

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Skew:
        amount = rng.uniform(0.05, 0.15 + 0.35 * strength) * (1 if rng.random() < 0.5 else -1)
        edges: tuple[Edge, ...] = ("black", "white", "replicate", "reflect")
        edge = edges[rng.integers(4)]
        return cls(float(amount), 0.0, edge) if rng.random() < 0.5 else cls(0.0, amount, edge)

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        shear = np.array([[1, self.across, 0], [self.down, 1, 0], [0, 0, 1]])
        corners = project(shear, outline(width, height))
        low, spread = corners.min(axis=0), np.ptp(corners, axis=0)
        size = max(round(spread[0]), 1), max(round(spread[1]), 1)
        return warped(pixels, shift(-low[0] - 0.5, -low[1] - 0.5) @ shear, size, self.edge)


@dataclass(frozen=True)
class Pad(Edit, kind="pad"):
    """Puts a border of one colour around; widths are shares of the image's size.

    square: the shorter side is padded until the image is square, before the border.
    """

    left: float
    top: float
    right: float
    bottom: float
    colour: Colour = (0, 0, 0)
    square: bool = False

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Pad:
        colour = sample_colour(rng)
        if rng.random() < 0.2:
            return cls(0, 0, 0, 0, colour, True)
        x, y = (float(share) for share in rng.uniform(0.03, 0.1 + 0.3 * strength, 2))
        style = rng.integers(4)
        if style == 0:
            return cls(x, 0, x, 0, colour)
        if style == 1:
            return cls(0, y, 0, y, colour)
        return cls(x, y, x, y, colour)

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        left, right = round(self.left * width), round(self.right * width)
        top, bottom = round(self.top * height), round(self.bottom * height)
        if self.square:
            left += max(height - width, 0) // 2
            right += (max(height - width, 0) + 1) // 2
            top += max(width - height, 0) // 2
            bottom += (max(width - height, 0) + 1) // 2
        full = (width + left + right, height + top + bottom)
        return on_canvas(pixels, full, (left, top, width, height), self.colour)


def on_canvas(
    pixels: Pixels, full: tuple[int, int], slot: tuple[int, int, int, int], colour: Colour
) -> Edited:
    """The image scaled into a slot (left, top, width, height) of a plain canvas (width, height)."""
    left, top, width, height = slot
    size = within_limits(*full)
    before = (pixels.shape[1], pixels.shape[0])
    if size != full:
        x, y = size[0] / full[0], size[1] / full[1]
        width, height = max(int(width * x), 1), max(int(height * y), 1)
        left, top = min(int(left * x), size[0] - width), min(int(top * y), size[1] - height)
    canvas = np.full((size[1], size[0], 3), colour, np.uint8)
    canvas[top : top + height, left : left + width] = resized(pixels, width, height)
    return moved(canvas, shift(left, top) @ scaling(before, (width, height)), before)


def warped(pixels: Pixels, transform: Matrix, size: tuple[int, int], edge: Edge) -> Edited:
    """The image through a transform, on a canvas of (width, height) px within the limits."""
    before = (pixels.shape[1], pixels.shape[0])
    fitted = within_limits(*size)
    if fitted != size:
        transform = scaling(size, fitted) @ transform
    result = cv2.warpPerspective(
        pixels,
        transform,
        fitted,
        flags=cv2.INTER_LINEAR,
        borderMode=_BORDERS.get(edge, cv2.BORDER_CONSTANT),
        borderValue=(255, 255, 255) if edge == "white" else (0, 0, 0),
    )
    return moved(result.astype(np.uint8, copy=False), transform, before)


def inner_size(width: float, height: float, angle: float) -> tuple[float, float]:
    """Width and height of the largest upright rectangle inside a rectangle rotated by `angle`."""
    sin, cos = abs(np.sin(angle)), abs(np.cos(angle))
    long, short = max(width, height), min(width, height)
    if short <= 2 * sin * cos * long or abs(sin - cos) < 1e-9:
        half = short / 2
        inner = (half / sin, half / cos) if width >= height else (half / cos, half / sin)
        return float(inner[0]), float(inner[1])
    double = cos * cos - sin * sin
    return (
        float((width * cos - height * sin) / double),
        float((height * cos - width * sin) / double),
    )


def sample_colour(rng: np.random.Generator) -> Colour:
    """A colour: often black or white, else any."""
    kind = rng.random()
    if kind < 0.25:
        return 0, 0, 0
    if kind < 0.5:
        return 255, 255, 255
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue


def _span(start: float, length: float, size: int) -> tuple[int, int]:
    """First and past-the-last pixel of a share of `size` px; at least one pixel."""
    first = min(max(round(start * size), 0), size - 1)
    return first, min(max(round((start + length) * size), first + 1), size)


def _stretched(pixels: Pixels, x: float, y: float) -> Edited:
    height, width = pixels.shape[:2]
    size = within_limits(max(round(width * x), 1), max(round(height * y), 1))
    return moved(resized(pixels, *size), scaling((width, height), size), (width, height))
