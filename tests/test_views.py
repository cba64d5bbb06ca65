"""Views: each shows what its transform says, and the crops together show everything."""

from __future__ import annotations

import numpy as np
import pytest

from copydetect.description.renderings import Rendering
from copydetect.description.views import KINDS, MAX_FRAMES, VIEW_NAMES, WHOLES, View, ViewOptions
from copydetect.description.views import views_of as views_of_renderings
from copydetect.errors import OptionError
from copydetect.homographies import project

EVERY = ViewOptions(KINDS)


def views_of(pixels: np.ndarray, options: ViewOptions) -> list[View]:
    return views_of_renderings([Rendering("whole", pixels)], options)


@pytest.mark.parametrize("size", [(64, 96), (97, 61), (200, 33)])
def test_every_pixel_of_a_view_is_where_its_transform_says(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for view in views_of(pixels, EVERY):
        rows, columns = np.indices(view.pixels.shape[:2])
        points = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)
        back = np.round(project(np.linalg.inv(view.transform), points)).astype(int)
        assert np.array_equal(pixels[back[:, 1], back[:, 0]], view.pixels.reshape(-1, 3))


def test_names_are_unique_and_in_order() -> None:
    assert VIEW_NAMES[: len(WHOLES)] == WHOLES
    assert len(VIEW_NAMES) == len(set(VIEW_NAMES)) == len(WHOLES) + 9 + MAX_FRAMES


def test_every_rendering_is_a_view_and_parts_are_of_the_first() -> None:
    first, second = np.zeros((40, 60, 3), np.uint8), np.full((40, 60, 3), 255, np.uint8)
    renderings = [Rendering("whole", first), Rendering("on-black", second)]
    views = views_of_renderings(renderings, ViewOptions(("whole", "crops")))
    assert [view.name for view in views[:3]] == ["whole", "on-black", "crop-0-0"]
    assert views[1].pixels.min() == 255
    assert max(view.pixels.max() for view in views[2:]) == 0


@pytest.mark.parametrize("size", [(1, 1), (20, 200), (31, 64), (33, 32), (64, 64), (240, 320)])
def test_the_views_of_an_ordinary_image_are_the_first_of_its_kinds(size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 255, np.uint8)
    height, width = size
    inner = np.random.default_rng(1).integers(0, 200, (height // 2, width // 2, 3), dtype=np.uint8)
    pixels[height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2] = inner
    names = tuple(view.name for view in views_of(pixels, EVERY))
    expected = [name for name in VIEW_NAMES if name == "whole" or name not in WHOLES]
    assert names == tuple(expected[: len(names)])
    assert ("frame-0" in names) == (min(size) >= 32)


def test_crops_cover_the_image_and_overlap() -> None:
    shown = np.zeros((80, 120), int)
    for view in views_of(np.zeros((80, 120, 3), np.uint8), ViewOptions(("crops",))):
        left, top = -view.transform[:2, 2].astype(int)
        height, width = view.pixels.shape[:2]
        assert (height, width) == (40, 60)
        shown[top : top + height, left : left + width] += 1
    assert shown.min() == 1
    assert shown.max() == 4


def test_references_have_the_views_of_queries_but_frames() -> None:
    assert EVERY.of_references() == ViewOptions(("whole", "crops"))
    assert ViewOptions(("frames",)).of_references() == ViewOptions(("whole",))


def test_options_read_and_print_themselves() -> None:
    assert ViewOptions.parse("whole, crops") == ViewOptions(("whole", "crops"))
    assert str(ViewOptions(("whole", "crops"))) == "whole,crops"


@pytest.mark.parametrize("text", ["", "hole", "whole,whole", "whole,"])
def test_wrong_options_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="view"):
        ViewOptions.parse(text)
