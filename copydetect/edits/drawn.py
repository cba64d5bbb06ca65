"""Edits that draw over a picture or beside it: text, emoji, shapes, stripes, captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from copydetect.edits.edit import Colour, Edit, Edited, Others, in_place
from copydetect.edits.geometry import on_canvas, sample_colour
from copydetect.edits.quality import pixelated, softened
from copydetect.edits.sprites import (
    EMOJIS,
    emoji,
    lines_of,
    pasted,
    sample_words,
    stamp,
    turned,
    written,
)
from copydetect.types import Pixels


@dataclass(frozen=True)
class Text(Edit, kind="text"):
    """Words over the picture; x, y: where the centre is; size: font size over the short side."""

    text: str
    x: float
    y: float
    size: float
    degrees: float
    opacity: float
    colour: Colour
    outline: Colour | None

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Text:
        words = sample_words(rng, 1, 4 + round(8 * strength))
        x, y = (float(value) for value in rng.uniform(0.2, 0.8, 2))
        size = float(rng.uniform(0.05, 0.09 + 0.11 * strength))
        degrees = float(rng.uniform(-45, 45)) if rng.random() < 0.25 else 0.0
        opacity = float(rng.uniform(0.4, 0.8)) if rng.random() < 0.25 else 1.0
        colour = sample_colour(rng)
        dark = sum(colour) < 384
        outline = ((255, 255, 255) if dark else (0, 0, 0)) if rng.random() < 0.4 else None
        return cls(words, x, y, size, degrees, opacity, colour, outline)

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        size_px = round(self.size * min(width, height))
        text = lines_of(self.text, size_px, round(0.8 * width))
        sprite = turned(written(text, size_px, self.colour, self.outline), self.degrees)
        left = round(self.x * width - sprite.shape[1] / 2)
        top = round(self.y * height - sprite.shape[0] / 2)
        return in_place(*pasted(pixels, sprite, left, top, self.opacity))


@dataclass(frozen=True)
class Emoji(Edit, kind="emoji"):
    """Emoji over the picture; each: name, centre x and y, size over the short side, degrees."""

    emojis: tuple[tuple[str, float, float, float, float], ...]
    opacity: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Emoji:
        placed = []
        for _ in range(rng.integers(1, 2 + round(4 * strength), endpoint=True)):
            name = EMOJIS[rng.integers(len(EMOJIS))]
            x, y = (float(value) for value in rng.uniform(0.1, 0.9, 2))
            size = float(rng.uniform(0.1, 0.2 + 0.3 * strength))
            degrees = float(rng.uniform(-30, 30)) if rng.random() < 0.5 else 0.0
            placed.append((name, x, y, size, degrees))
        return cls(tuple(placed), float(rng.choice([1.0, 1.0, rng.uniform(0.5, 1)])))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        result, hidden = pixels.copy(), np.zeros((height, width), bool)
        for name, x, y, size, degrees in self.emojis:
            sprite = turned(emoji(name, round(size * min(width, height))), degrees)
            left = round(x * width - sprite.shape[1] / 2)
            top = round(y * height - sprite.shape[0] / 2)
            stamp(result, sprite, left, top, self.opacity, hidden)
        return in_place(result, hidden)


@dataclass(frozen=True)
class Shapes(Edit, kind="shapes"):
    """Ellipses, boxes and arrows; each: form, x0, y0, x1, y1, line width (0: filled), colour."""

    shapes: tuple[tuple[str, float, float, float, float, float, Colour], ...]

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Shapes:
        drawn = []
        for _ in range(rng.integers(1, 2 + round(3 * strength), endpoint=True)):
            form = ("ellipse", "box", "arrow")[rng.integers(3)]
            x, y = rng.uniform(-0.05, 0.8, 2)
            across, down = rng.uniform(0.08, 0.2 + 0.25 * strength, 2)
            line = 0.0 if rng.random() < 0.35 else float(rng.uniform(0.008, 0.03))
            end = (float(x + across), float(y + down))
            drawn.append((form, float(x), float(y), *end, line, sample_colour(rng)))
        return cls(tuple(drawn))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        result, hidden = pixels.copy(), np.zeros((height, width), np.uint8)
        for form, x0, y0, x1, y1, line, colour in self.shapes:
            start, end = (
                (round(x0 * width), round(y0 * height)),
                (round(x1 * width), round(y1 * height)),
            )
            thick = max(round(line * min(width, height)), 1) if line else -1
            for canvas, value in ((result, colour), (hidden, (1,))):
                if form == "box":
                    cv2.rectangle(canvas, start, end, value, thick)
                elif form == "ellipse":
                    centre = ((start[0] + end[0]) // 2, (start[1] + end[1]) // 2)
                    axes = (abs(end[0] - start[0]) // 2, abs(end[1] - start[1]) // 2)
                    cv2.ellipse(canvas, centre, axes, 0, 0, 360, value, thick)
                else:
                    cv2.arrowedLine(canvas, start, end, value, max(thick, 2), tipLength=0.3)
        return in_place(result, hidden.astype(bool))


@dataclass(frozen=True)
class Stripes(Edit, kind="stripes"):
    """Stripes of one colour: `count` over the long side, `width` the share that they cover."""

    count: float
    width: float
    degrees: float
    offset: float
    opacity: float
    colour: Colour

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Stripes:
        degrees = float(rng.choice([0, 90, 45, rng.uniform(-90, 90)]))
        return cls(
            float(rng.uniform(1, 3 + 9 * strength)),
            float(rng.uniform(0.1, 0.2 + 0.3 * strength)),
            degrees,
            float(rng.random()),
            float(rng.uniform(0.25, 0.5 + 0.5 * strength)),
            sample_colour(rng),
        )

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        angle = np.deg2rad(self.degrees)
        x = np.arange(width, dtype=np.float32) * np.float32(np.cos(angle))
        y = np.arange(height, dtype=np.float32) * np.float32(np.sin(angle))
        frequency = np.float32(self.count / max(width, height))
        striped = ((x + y[:, None]) * frequency + np.float32(self.offset)) % 1 < self.width
        result = pixels.copy()
        mixed = cv2.addWeighted(
            pixels, 1 - self.opacity, np.full_like(pixels, self.colour), self.opacity, 0
        )
        np.copyto(result, mixed.astype(np.uint8, copy=False), where=striped[..., None])
        return in_place(result, striped if self.opacity >= 0.5 else None)


@dataclass(frozen=True)
class Censor(Edit, kind="censor"):
    """Hides a rectangle (left, top, width, height): blurred, pixelated or filled with black."""

    left: float
    top: float
    width: float
    height: float
    style: Literal["blur", "pixelate", "black"]

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Censor:
        width, height = (float(v) for v in rng.uniform(0.12, 0.25 + 0.35 * strength, 2))
        left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        styles: tuple[Literal["blur", "pixelate", "black"], ...] = ("blur", "pixelate", "black")
        return cls(float(left), float(top), width, height, styles[rng.integers(3)])

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        x0, y0 = round(self.left * width), round(self.top * height)
        x1, y1 = (
            max(round((self.left + self.width) * width), x0 + 1),
            max(round((self.top + self.height) * height), y0 + 1),
        )
        result, hidden = pixels.copy(), np.zeros((height, width), bool)
        hidden[y0:y1, x0:x1] = True
        part = result[y0:y1, x0:x1]
        if not part.size or self.style == "black":
            part[:] = 0
        elif self.style == "blur":
            part[:] = softened(part, max(min(part.shape[:2]) / 10, 0.5))
        else:
            part[:] = pixelated(part, 6)
        return in_place(result, hidden)


@dataclass(frozen=True)
class Meme(Edit, kind="meme"):
    """A caption: in a bar above or below the picture, or outlined over its top and bottom.

    size: font size over the width.
    """

    text: str
    place: Literal["above", "below", "over"]
    size: float
    dark: bool

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Meme:
        places: tuple[Literal["above", "below", "over"], ...] = ("above", "above", "below", "over")
        words = sample_words(rng, 2, 5 + round(7 * strength))
        size = float(rng.uniform(0.05, 0.08 + 0.05 * strength))
        return cls(words, places[rng.integers(4)], size, bool(rng.random() < 0.25))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        # A caption is at most twice as high as the picture, however narrow that is.
        size_px = min(max(round(self.size * width), 8), max(height // 3, 8))
        text = lines_of(self.text, size_px, round(0.9 * width))
        ink: Colour = (255, 255, 255) if self.dark or self.place == "over" else (0, 0, 0)
        sprite = written(text, size_px, ink, (0, 0, 0) if self.place == "over" else None)
        left = (width - sprite.shape[1]) // 2
        if self.place == "over":
            return in_place(*pasted(pixels, sprite, left, height - sprite.shape[0] - size_px // 3))
        bar = sprite.shape[0] + size_px
        paper: Colour = (0, 0, 0) if self.dark else (255, 255, 255)
        top = bar if self.place == "above" else 0
        edited = on_canvas(pixels, (width, height + bar), (0, top, width, height), paper)
        if edited.pixels.shape[:2] == (height + bar, width):
            start = size_px // 2 if self.place == "above" else height + size_px // 2
            stamp(edited.pixels, sprite, left, start)
        return edited
