"""A picture with transparency → how it looks on a plain background, and whether it is a mere shape.

Colours below full transparency are seen nowhere, so they never count: pixels come flattened onto
white, with their opacity, and what they look like on another ground follows from these two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from copydetect.types import Pixels

Opacity = npt.NDArray[np.uint8]
"""(height, width) uint8: 0 where nothing is drawn, 255 where the ground does not show."""

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)

_SEEN_THROUGH = 0.02
"""Share of a picture that must let the ground through before the ground matters: rounded corners
and soft edges alone change nothing."""
_ONE_COLOUR_STD = 16.0
_FEWEST_DRAWN = 0.002


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
