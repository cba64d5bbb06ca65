"""pixels → views: the whole image, and the flips, turns, crops and frames it is searched under.

A view of a query finds what its whole cannot: a mirrored or turned copy, or a picture that fills
only a part of it. Each view costs one descriptor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from copydetect.description.frames import Frame, find_frames
from copydetect.edits.edit import shift
from copydetect.edits.geometry import FlipHorizontal, QuarterTurn
from copydetect.errors import OptionError
from copydetect.types import Pixels

KINDS = ("whole", "crops", "flip", "turns", "frames")
MAX_FRAMES = 4
"""Pictures inside an image that are views of it: the surest ones."""

_GRIDS = (2, 3)


@dataclass(frozen=True)
class ViewOptions:
    """Which views are made of an image, some of KINDS.

    "whole"; "crops": the parts of a 2 × 2 and a 3 × 3 grid, widened until neighbours overlap by
    half; "flip": mirrored left and right; "turns": by a quarter, a half and three quarters;
    "frames": the pictures inside, as in a screenshot or collage (see `frames`).
    OptionError for no kind, an unknown one or one named twice.
    """

    kinds: tuple[str, ...] = ("whole",)

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise OptionError(f"no view is called {kind!r}; choose from {', '.join(KINDS)}")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise OptionError(f"views must be named once each, not {','.join(self.kinds)!r}")

    def of_references(self) -> ViewOptions:
        """What is searched needs no turns or frames, where the queries have them: only crops."""
        kinds = tuple(kind for kind in self.kinds if kind in ("whole", "crops"))
        return ViewOptions(kinds or ("whole",))

    @classmethod
    def parse(cls, text: str) -> ViewOptions:
        """From kinds separated by commas, such as "whole,flip,crops"."""
        return cls(tuple(kind.strip() for kind in text.split(",")))

    def __str__(self) -> str:
        return ",".join(self.kinds)


@dataclass(frozen=True)
class View:
    """One view: its name, its pixels, and the (3, 3) float64 transform of image px → view px.

    Names: "whole", "crop-N-R-C" for row R and column C of the N × N grid, "flip", "turn90",
    "turn180", "turn270" (counter-clockwise), and "frame-N" for the N-th picture inside, from 0.
    """

    name: str
    pixels: Pixels
    transform: npt.NDArray[np.float64]


def view_names(options: ViewOptions) -> tuple[str, ...]:
    """The names of all views that an image may have, in order; the number of a view is its place.

    An image may lack the last of them, frames; those of references are the first ones too.
    """
    names = {
        "whole": ["whole"],
        "crops": [f"crop-{n}-{row}-{column}" for n in _GRIDS for row, column in np.ndindex(n, n)],
        "flip": ["flip"],
        "turns": [f"turn{90 * quarters}" for quarters in (1, 2, 3)],
        "frames": [f"frame-{number}" for number in range(MAX_FRAMES)],
    }
    return tuple(name for kind in KINDS if kind in options.kinds for name in names[kind])


def views_of(pixels: Pixels, options: ViewOptions) -> list[View]:
    """The views of an image, in the order of KINDS."""
    views = []
    if "whole" in options.kinds:
        views.append(View("whole", pixels, np.eye(3)))
    if "crops" in options.kinds:
        views += [
            _view(name, crop, pixels) for grid in _GRIDS for name, crop in _crops(pixels, grid)
        ]
    if "flip" in options.kinds:
        mirrored = FlipHorizontal()(pixels)
        views.append(View("flip", mirrored.pixels, mirrored.transform))
    if "turns" in options.kinds:
        for quarters in (1, 2, 3):
            turned = QuarterTurn(quarters)(pixels)
            views.append(View(f"turn{90 * quarters}", turned.pixels, turned.transform))
    if "frames" in options.kinds:
        frames = find_frames(pixels, MAX_FRAMES)
        views += [_view(f"frame-{number}", frame, pixels) for number, frame in enumerate(frames)]
    return views


def _view(name: str, part: Frame, pixels: Pixels) -> View:
    return View(name, part.cut(pixels), shift(-part.left, -part.top))


def _crops(pixels: Pixels, grid: int) -> list[tuple[str, Frame]]:
    """The crops of one grid: of side 2 / (grid + 1), so that neighbours overlap by half."""
    height, width = pixels.shape[:2]
    crop_width, crop_height = (max(round(2 * side / (grid + 1)), 1) for side in (width, height))
    crops = []
    for row in range(grid):
        top = (height - crop_height) * row // (grid - 1)
        for column in range(grid):
            left = (width - crop_width) * column // (grid - 1)
            frame = Frame(left, top, left + crop_width, top + crop_height)
            crops.append((f"crop-{grid}-{row}-{column}", frame))
    return crops
