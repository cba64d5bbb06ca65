"""Views: each shows what its transform says, and the crops together show everything."""

from __future__ import annotations

import numpy as np
import pytest

from copydetect.description.views import KINDS, ViewOptions, views_of
from copydetect.edits import project
from copydetect.errors import OptionError

EVERY = ViewOptions(KINDS)


@pytest.mark.parametrize("size", [(64, 96), (97, 61), (200, 33)])
def test_every_pixel_of_a_view_is_where_its_transform_says(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for view in views_of(pixels, EVERY):
        rows, columns = np.indices(view.pixels.shape[:2])
        points = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)
        back = np.round(project(np.linalg.inv(view.transform), points)).astype(int)
        assert np.array_equal(pixels[back[:, 1], back[:, 0]], view.pixels.reshape(-1, 3))


def test_names_are_unique_and_in_order() -> None:
    names = [view.name for view in views_of(np.zeros((64, 64, 3), np.uint8), EVERY)]
    assert names[:5] == ["whole", "flip", "turn90", "turn180", "turn270"]
    assert len(names) == len(set(names)) == 5 + 4 + 9


@pytest.mark.parametrize("grid", [2, 3])
def test_crops_of_a_grid_cover_the_image_and_overlap(grid: int) -> None:
    shown = np.zeros((80, 120), int)
    for view in views_of(np.zeros((80, 120, 3), np.uint8), ViewOptions(("crops",))):
        if view.name.startswith(f"crop-{grid}-"):
            left, top = -view.transform[:2, 2].astype(int)
            height, width = view.pixels.shape[:2]
            shown[top : top + height, left : left + width] += 1
    assert shown.min() == 1
    assert shown.max() == 4


def test_an_image_too_small_to_crop_keeps_its_other_views() -> None:
    views = views_of(np.zeros((1, 1, 3), np.uint8), EVERY)
    assert [view.name for view in views] == ["whole", "flip", "turn90", "turn180", "turn270"]


def test_options_read_and_print_themselves() -> None:
    assert ViewOptions.parse("whole, flip") == ViewOptions(("whole", "flip"))
    assert str(ViewOptions(("whole", "crops"))) == "whole,crops"


@pytest.mark.parametrize("text", ["", "hole", "whole,whole", "whole,"])
def test_wrong_options_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="view"):
        ViewOptions.parse(text)
