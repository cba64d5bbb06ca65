"""A decoded image → its renderings: the different ways it may look where it is shown.

Nearly every image has one. A picture with transparency looks different on a dark ground and on
white, and a drawing of one colour is nothing but its shape; an animation shows several pictures,
and any of them may be all that a copy has kept. All renderings of an image are of one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from copydetect.images.decoding import DecodedImage
from copydetect.images.transparency import (
    BLACK,
    Opacity,
    ground_matters,
    is_shape,
    on_ground,
    shape_of,
)
from copydetect.types import Floats, Pixels

MOMENTS_DECODED = 12
"""Moments of an animation that are looked at, the first included."""

ON_BLACK = "on-black"
MOMENTS = tuple(f"moment-{number}" for number in range(1, 5))
"""Names of the renderings of an animation's later moments: the most different ones."""

_SKETCH_PX = 24
_FLAT_STD = 3.0
_ANOTHER_PICTURE = 8.0
"""Mean difference of two sketches in grey levels from which they are two pictures."""


@dataclass(frozen=True)
class Rendering:
    """One way an image is seen; name: "whole", ON_BLACK or one of MOMENTS."""

    name: str
    pixels: Pixels


def renderings_of(image: DecodedImage) -> list[Rendering]:
    """The renderings of an image, the first of which is called "whole"; the others look different.

    Transparency: on white and on black, or, where all that is drawn has one colour, the shape in
    black on white and in white on black. Animations: the first moment that shows something, and up
    to four that differ most from it and from each other.
    """
    if image.moments.later:
        stills = [image.pixels, *(still.pixels for still in image.moments.later)]
        first, *later = (stills[number] for number in most_different(stills, 1 + len(MOMENTS)))
        if first is not image.pixels:
            moments = zip(MOMENTS, later, strict=False)
            return [Rendering("whole", first), *(Rendering(*one) for one in moments)]
        on_white, on_black = _on_grounds(image.pixels, image.opacity)
        moments = zip(MOMENTS, later, strict=False)
        return [*_named(on_white, on_black), *(Rendering(*one) for one in moments)]
    return _named(*_on_grounds(image.pixels, image.opacity))


def most_different(stills: Sequence[Pixels], count: int) -> list[int]:
    """Numbers of up to `count` stills that are all different pictures, in the order of choice.

    The first that is not of one colour, then always the one that differs most from those chosen.
    """
    sketches = [_sketch(pixels) for pixels in stills]
    telling = [n for n, sketch in enumerate(sketches) if float(sketch.std()) > _FLAT_STD]
    if not telling:
        return [0]
    chosen = telling[:1]
    while len(chosen) < count:
        nearest = [min(_difference(sketches[n], sketches[c]) for c in chosen) for n in telling]
        farthest = int(np.argmax(nearest))
        if nearest[farthest] < _ANOTHER_PICTURE:
            break
        chosen.append(telling[farthest])
    return chosen


def _named(on_white: Pixels, on_black: Pixels | None) -> list[Rendering]:
    whole = Rendering("whole", on_white)
    return [whole] if on_black is None else [whole, Rendering(ON_BLACK, on_black)]


def _on_grounds(pixels: Pixels, opacity: Opacity | None) -> tuple[Pixels, Pixels | None]:
    """What is seen on white, and on black where that is something else."""
    if opacity is None or not ground_matters(opacity):
        return pixels, None
    if is_shape(pixels, opacity):
        return shape_of(opacity, dark=True), shape_of(opacity, dark=False)
    return pixels, on_ground(pixels, opacity, BLACK)


def _sketch(pixels: Pixels) -> Floats:
    small = cv2.resize(pixels, (_SKETCH_PX, _SKETCH_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _difference(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).mean())
