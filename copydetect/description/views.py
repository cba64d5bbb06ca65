"""pixels → views: the whole image, the crops that it is found by, and the pictures inside.

The whole may have several renderings (see `renderings`), and each is a view.

A view of a query finds what its whole cannot: a picture that fills only a part of it; a crop of a
reference is found by a query that was cut out of it. Each view costs one descriptor. There are no
mirrored or turned views: the descriptor hardly tells them from the whole, and local features do not
at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from copydetect.description.frames import Frame, find_frames
from copydetect.description.renderings import MOMENTS, ON_BLACK, Rendering
from copydetect.errors import OptionError
from copydetect.homographies import shift
from copydetect.types import Doubles, Pixels

KINDS = ("whole", "crops", "frames")
MAX_FRAMES = 4
"""Pictures inside an image that are views of it: the surest ones."""

_GRID = 3

WHOLES = ("whole", ON_BLACK, *MOMENTS)
"""Views of the whole image: as it is first seen, and its other renderings."""

VIEW_NAMES = (
    *WHOLES,
    *(f"crop-{row}-{column}" for row, column in np.ndindex(_GRID, _GRID)),
    *(f"frame-{number}" for number in range(MAX_FRAMES)),
)
"""Every view that an image may have. The number of a view is its place; an image has some."""


@dataclass(frozen=True)
class ViewOptions:
    """Which views are made of an image, some of KINDS.

    "whole"; "crops": the cells of a 3 × 3 grid, widened to half the image's sides, so that
    neighbours overlap by half; "frames": the pictures inside, as in a screenshot or collage.
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
        """The views of references: without frames, because a part is only ever compared with a
        whole."""
        kinds = tuple(kind for kind in self.kinds if kind != "frames")
        return ViewOptions(kinds or ("whole",))

    @classmethod
    def parse(cls, text: str) -> ViewOptions:
        """From kinds separated by commas, such as "whole,crops"."""
        return cls(tuple(kind.strip() for kind in text.split(",")))

    def __str__(self) -> str:
        return ",".join(self.kinds)


@dataclass(frozen=True)
class View:
    """One view: its name, its pixels, and the (3, 3) float64 transform of image px → view px.

    Names: those of WHOLES, "crop-R-C" for row R and column C of the grid, and "frame-N" for the
    N-th picture inside, from 0.
    """

    name: str
    pixels: Pixels
    transform: Doubles


def views_of(renderings: Sequence[Rendering], options: ViewOptions) -> list[View]:
    """The views of an image, in the order of VIEW_NAMES; parts are cut out of its first rendering.

    renderings: of the image, all of one size, the first of which is called "whole".
    """
    pixels = renderings[0].pixels
    height, width = pixels.shape[:2]
    views = []
    if "whole" in options.kinds:
        views += [View(one.name, one.pixels, shift(0, 0)) for one in renderings]
    if "crops" in options.kinds:
        views += _cut(pixels, "crop-", _crops(width, height))
    if "frames" in options.kinds:
        views += _cut(pixels, "frame-", find_frames(pixels, MAX_FRAMES))
    return views


def _cut(pixels: Pixels, kind: str, parts: Sequence[Frame]) -> list[View]:
    names = (name for name in VIEW_NAMES if name.startswith(kind))
    return [
        View(name, part.cut(pixels), shift(-part.left, -part.top))
        for name, part in zip(names, parts, strict=False)
    ]


def _crops(width: int, height: int) -> list[Frame]:
    """The crops of the grid, of half the image's sides, row by row."""
    across, down = (max(round(2 * side / (_GRID + 1)), 1) for side in (width, height))
    corners = [
        ((width - across) * column // (_GRID - 1), (height - down) * row // (_GRID - 1))
        for row, column in np.ndindex(_GRID, _GRID)
    ]
    return [Frame(left, top, left + across, top + down) for left, top in corners]
