"""A picture with transparency → how it looks on a plain background, and whether it is a mere shape.

Colours below full transparency are seen nowhere, so they never count: pixels come flattened onto
white, with their opacity, and what they look like on another ground follows from these two.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.types import Pixels

Opacity = npt.NDArray[np.uint8]
"""(height, width) uint8: 0 where nothing is drawn, 255 where the ground does not show."""

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
GREY: Colour = (128, 128, 128)

_SEEN_THROUGH = 0.02
"""Share of a picture that must let the ground through before the ground matters: rounded corners
and soft edges alone change nothing."""
_ONE_COLOUR_STD = 16.0
_FEWEST_DRAWN = 0.002
_HARDLY_DRAWN = 64
"""Opacity below which a place belongs to the ground."""
_LIKE_THE_GROUND = 40


def ground_matters(opacity: Opacity | None) -> bool:
    """Whether the picture looks different on another ground, and anything is drawn at all."""
    if opacity is None:
        return False
    shown = float(opacity.mean()) / 255
    return _FEWEST_DRAWN < shown < 1 - _SEEN_THROUGH


def on_ground(on_white: Pixels, opacity: Opacity, colour: Colour) -> Pixels:
    """The picture on a plain ground; on_white: (h, w, 3), the picture on white."""
    through = (255 - opacity.astype(np.float32))[..., None] / 255
    darker = 255 - np.asarray(colour, np.float32)
    return np.rint(on_white - through * darker).clip(0, 255).astype(np.uint8)


def hidden_share(on_white: Pixels, opacity: Opacity, colour: Colour) -> float:
    """How much of the outline of what is drawn has the colour of a plain ground, 0…1.

    What is white disappears on white, be it all of a picture or the words beneath it; but white
    inside of something else does not. on_white: as of `on_ground`.
    """
    drawn = opacity >= _HARDLY_DRAWN
    beside_ground = cv2.dilate((~drawn).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    outline = drawn & beside_ground
    if not outline.any():
        return 0.0
    through = (255 - opacity[outline].astype(np.float32))[:, None] / 255
    own = (on_white[outline] - 255 * through) / (1 - through)
    away = np.abs(own - np.asarray(colour, np.float32)).max(axis=1)
    return float((away < _LIKE_THE_GROUND).mean())


def is_shape(on_white: Pixels, opacity: Opacity) -> bool:
    """Whether all that is drawn has one colour: a symbol, a signature, a word.

    Such a drawing is its shape alone, and on a ground of its colour nothing is left of it.
    """
    drawn = opacity > 200
    if not drawn.any():
        return False
    return bool(on_white[drawn].std(axis=0).max() < _ONE_COLOUR_STD)


def shape_of(opacity: Opacity, dark: bool) -> Pixels:
    """The shape alone: black on white where `dark`, else white on black."""
    grey = 255 - opacity if dark else opacity
    return np.repeat(grey[..., None], 3, axis=2)
