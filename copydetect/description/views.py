"""pixels → views: the whole image, and the flips, turns and crops that it is searched under.

A view of a query finds what its whole cannot: a mirrored or turned copy, or a picture that fills
only a part of it. Each view costs one descriptor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from copydetect.edits.edit import shift
from copydetect.edits.geometry import FlipHorizontal, QuarterTurn
from copydetect.errors import OptionError
from copydetect.types import Pixels

KINDS = ("whole", "flip", "turns", "crops")

_GRIDS = (2, 3)
_MIN_CROP_PX = 16


@dataclass(frozen=True)
class ViewOptions:
    """Which views are made of an image, some of KINDS.

    "whole"; "flip": mirrored left and right; "turns": by a quarter, a half and three quarters;
    "crops": the squares of a 2 × 2 and a 3 × 3 grid, widened until neighbours overlap by half.
    OptionError for no kind, an unknown one or one named twice.
    """

    kinds: tuple[str, ...] = ("whole",)

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise OptionError(f"no view is called {kind!r}; choose from {', '.join(KINDS)}")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise OptionError(f"views must be named once each, not {','.join(self.kinds)!r}")

    @classmethod
    def parse(cls, text: str) -> ViewOptions:
        """From kinds separated by commas, such as "whole,flip,crops"."""
        return cls(tuple(kind.strip() for kind in text.split(",")))

    def __str__(self) -> str:
        return ",".join(self.kinds)


@dataclass(frozen=True)
class View:
    """One view: its name, its pixels, and the (3, 3) float64 transform of image px → view px.

    Names: "whole", "flip", "turn90", "turn180", "turn270" (counter-clockwise), and "crop-N-R-C" for
    row R and column C of the N × N grid.
    """

    name: str
    pixels: Pixels
    transform: npt.NDArray[np.float64]


def views_of(pixels: Pixels, options: ViewOptions) -> list[View]:
    """The views of an image, in the order of KINDS. Crops under 16 px a side are left out."""
    views = []
    if "whole" in options.kinds:
        views.append(View("whole", pixels, np.eye(3)))
    if "flip" in options.kinds:
        mirrored = FlipHorizontal()(pixels)
        views.append(View("flip", mirrored.pixels, mirrored.transform))
    if "turns" in options.kinds:
        for quarters in (1, 2, 3):
            turned = QuarterTurn(quarters)(pixels)
            views.append(View(f"turn{90 * quarters}", turned.pixels, turned.transform))
    if "crops" in options.kinds:
        views += [view for grid in _GRIDS for view in _crops(pixels, grid)]
    return views


def _crops(pixels: Pixels, grid: int) -> list[View]:
    """The crops of one grid: of side 2 / (grid + 1), so that neighbours overlap by half."""
    height, width = pixels.shape[:2]
    crop_width, crop_height = round(2 * width / (grid + 1)), round(2 * height / (grid + 1))
    if min(crop_width, crop_height) < _MIN_CROP_PX:
        return []
    views = []
    for row in range(grid):
        top = (height - crop_height) * row // (grid - 1)
        for column in range(grid):
            left = (width - crop_width) * column // (grid - 1)
            part = np.ascontiguousarray(pixels[top : top + crop_height, left : left + crop_width])
            views.append(View(f"crop-{grid}-{row}-{column}", part, shift(-left, -top)))
    return views
