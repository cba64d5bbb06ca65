"""Copies that are easily refused: much of the picture is drawn over, cut away or spoiled.

A caption, a stamp or a filter must not be taken for other content, and must not excuse it either:
look-alikes get the same edits (`relation_pairs`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from copydetect import edits
from copydetect.edits.edit import Colour, Others
from copydetect.edits.geometry import Aspect
from copydetect.edits.mixes import MIN_VISIBLE, visible
from copydetect.edits.sprites import sample_words, stamp, turned, written
from copydetect.types import Pixels

_DRAWN = ("text", "meme", "emoji", "shapes", "stripes", "censor", "pad", "screenshot")
_OFTEN = (0.2, 0.3, 0.2, 0.08, 0.05, 0.05, 0.07, 0.05)
_STRONG = (
    *("crop", "onto", "screenshot", "jpeg", "blur", "overlay", "collage", "pixelate", "noise"),
    *("brightness", "gamma", "contrast", "tint", "opacity", "jitter", "grey", "sharpen"),
    *("perspective", "rotate", "aspect", "skew", "hflip"),
)
_OFTEN_CUT = (*(3, 3, 2, 3, 2, 1.5, 0.5, 1, 1), *(1,) * 8, *(1.5, 1, 1.5, 1, 1.5))
_INKS: tuple[Colour, ...] = ((190, 30, 45), (30, 60, 160), (20, 20, 24), (35, 120, 60))
_STRETCHED, _TRIES = 0.12, 5


def drawn_over(rng: np.random.Generator, picture: Pixels, others: Others) -> Pixels:
    """The picture with a watermark, or with one or two things drawn on it or around it."""
    if rng.random() < 0.15:
        return Watermark.drawn(rng)(picture)
    names = rng.choice(_DRAWN, 2 if rng.random() < 0.3 else 1, replace=False, p=_OFTEN)
    steps = [edits.KINDS[str(name)].sample(rng, float(rng.random())) for name in names]
    return edits.apply(steps, picture, others).pixels


def strongly_edited(rng: np.random.Generator, picture: Pixels, others: Others) -> Pixels:
    """The picture after one to three strong edits, of which enough is left to be seen."""
    often = np.array(_OFTEN_CUT) / sum(_OFTEN_CUT)
    for _ in range(_TRIES):
        names = rng.choice(_STRONG, int(rng.integers(1, 4)), replace=False, p=often)
        steps = [edits.KINDS[str(name)].sample(rng, float(rng.uniform(0.4, 1))) for name in names]
        if rng.random() < _STRETCHED:
            steps.insert(0, Aspect(float(np.exp(rng.choice([-1, 1]) * rng.uniform(0.5, 1.3)))))
        made = edits.apply(steps, picture, others)
        if visible(made, picture) >= MIN_VISIBLE:
            return made.pixels
    return drawn_over(rng, picture, others)


def marked(rng: np.random.Generator, page: Pixels) -> Pixels:
    """A page that somebody has worked with: stamps on it, lines highlighted, a signature."""
    made: Pixels = page.copy()
    for _ in range(int(rng.integers(1, 4))):
        mark = (_highlight, _stamp, _scribble)[int(rng.integers(3))]
        mark(rng, made)
    return made


@dataclass(frozen=True)
class Watermark:
    """Words over all of a picture, translucent; size and gap: shares of the longer side."""

    words: str
    size: float
    gap: float
    degrees: float
    opacity: float
    colour: Colour

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Watermark:
        """Any watermark."""
        level = int(rng.choice([0, 128, 255, 255]))
        return cls(
            sample_words(rng, 1, 2),
            float(rng.uniform(0.03, 0.12)),
            float(rng.uniform(0.05, 0.3)),
            float(rng.choice([0, 30, 45, -30])),
            float(rng.uniform(0.15, 0.6)),
            (level, level, level),
        )

    def __call__(self, picture: Pixels) -> Pixels:
        """The picture below the watermark."""
        longer = max(picture.shape[:2])
        made: Pixels = picture.copy()
        sprite = written(self.words, max(round(self.size * longer), 8), self.colour)
        sprite = turned(sprite, self.degrees)
        gap = round(self.gap * longer)
        for top in range(gap // 2, picture.shape[0], sprite.shape[0] + gap):
            for left in range(gap // 3, picture.shape[1], sprite.shape[1] + gap):
                stamp(made, sprite, left, top, self.opacity)
        return made


def _highlight(rng: np.random.Generator, page: Pixels) -> None:
    """A band of bright colour under the text, in place."""
    height, width = page.shape[:2]
    tall, long = int(height * rng.uniform(0.015, 0.05)) + 2, int(width * rng.uniform(0.15, 0.8)) + 2
    top, left = (
        int(rng.integers(0, max(height - tall, 1))),
        int(rng.integers(0, max(width // 2, 1))),
    )
    colour = np.array(((255, 240, 60), (150, 255, 130), (255, 160, 200))[int(rng.integers(3))])
    band = page[top : top + tall, left : left + long]
    band[:] = (band * (colour / 255)).astype(np.uint8)


def _stamp(rng: np.random.Generator, page: Pixels) -> None:
    """Words in a box or a ring, in one ink, turned a little, in place."""
    ink = _INKS[int(rng.integers(len(_INKS)))]
    size = max(10, round(min(page.shape[:2]) * float(rng.uniform(0.03, 0.09))))
    words = written(sample_words(rng, 1, 2).upper(), size, ink)
    side = size // 2 + (words.shape[1] // 3 if rng.random() < 0.3 else 0)
    seal = np.pad(words, ((side, side), (size, size), (0, 0)))
    seal[..., :3] = ink
    alpha = np.ascontiguousarray(seal[..., 3])
    edge, (tall, long) = max(1, size // 8), alpha.shape
    if rng.random() < 0.4:
        cv2.ellipse(alpha, (long // 2, tall // 2), (long // 2 - edge, tall // 2 - edge), 0, 0, 360,
                    (255,), edge)  # fmt: skip
    else:
        cv2.rectangle(alpha, (edge, edge), (long - edge, tall - edge), (255,), edge)
    seal[..., 3] = alpha
    _put(rng, page, turned(seal, float(rng.uniform(-30, 30))), float(rng.uniform(0.5, 0.95)))


def _scribble(rng: np.random.Generator, page: Pixels) -> None:
    """A signature: one line of loops, in place."""
    height, width = page.shape[:2]
    steps = np.linspace(0, 1, 160)
    turns = steps * rng.uniform(20, 50)
    size = min(height, width) * float(rng.uniform(0.08, 0.2))
    x = (2.5 * steps + 0.3 * np.cos(turns)) * size
    y = 0.5 * np.sin(turns) * (1 + np.sin(9 * steps + rng.uniform(0, 6))) / 2 * size
    at = np.array([rng.uniform(0, 0.6) * width, rng.uniform(0.15, 0.9) * height])
    line = [np.rint(np.column_stack([x, y]) + at).astype(np.int32)]
    ink = _INKS[int(rng.integers(len(_INKS)))]
    cv2.polylines(page, line, False, ink, max(1, round(size / 30)), cv2.LINE_AA)


def _put(rng: np.random.Generator, page: Pixels, sprite: Pixels, opacity: float) -> None:
    height, width = page.shape[:2]
    left = int(rng.uniform(0, max(width - sprite.shape[1], 1)))
    top = int(rng.uniform(0, max(height - sprite.shape[0], 1)))
    stamp(page, sprite, left, top, opacity)
