"""A window with another picture in it is no copy; a picture with something pasted over it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from copydetect.types import Pixels
from tests.scenes import scene
from tests.test_relations import resized, verify
from tests.test_residual import residual

SLOT = (150, 80, 200, 130)
"""left, top, width, height in px."""


def window(picture: Pixels) -> Pixels:
    """A program's window, with portraits and words of its own, that shows a picture."""
    shown = np.full((260, 420, 3), 255, np.uint8)
    cv2.rectangle(shown, (0, 0), (419, 24), (236, 238, 242), -1)
    cv2.putText(shown, "Friends and news", (12, 18), 0, 0.5, (60, 60, 60), 1, cv2.LINE_AA)
    for row, words in enumerate(("Timeline", "Messages", "Photos", "Groups", "Saved", "Events")):
        at = 50 + 32 * row
        shown[at - 12 : at + 8, 12:32] = scene(200 + row, 20, 20)
        cv2.putText(shown, words, (42, at), 0, 0.45, (80, 80, 80), 1, cv2.LINE_AA)
    for number in range(5):
        shown[36:66, 150 + 42 * number : 180 + 42 * number] = scene(300 + number, 30, 30)
    left, top, width, height = SLOT
    shown[top : top + height, left : left + width] = resized(picture, width, height)
    cv2.putText(
        shown, "What do you think of it?", (150, 235), 0, 0.45, (90, 90, 90), 1, cv2.LINE_AA
    )
    return shown


def with_bars(picture: Pixels, share: float) -> Pixels:
    """The same size, with the middle of a picture between two dark bars."""
    width = picture.shape[1]
    side = round(width * (1 - share) / 2)
    shown = np.full_like(picture, 60)
    shown[:, side : width - side] = picture[:, side : width - side]
    return np.asarray(shown, np.uint8)


def with_pasted(pixels: Pixels) -> Pixels:
    """The same with a picture pasted over a part of it."""
    edited = pixels.copy()
    edited[90:170, 190:290] = scene(77, 100, 80)
    return edited


def turned(pixels: Pixels, degrees: float) -> Pixels:
    """The same turned about its middle."""
    height, width = pixels.shape[:2]
    there = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 0.8)
    return np.asarray(cv2.warpAffine(pixels, there, (width, height)), np.uint8)


@pytest.mark.parametrize("degrees", [0, 20, -35])
@pytest.mark.parametrize("seed", [1, 2, 5])
def test_the_slot_of_a_window_has_borders_in_both(seed: int, degrees: float) -> None:
    shown = (window(scene(number, 320, 240)) for number in (seed, seed + 50))
    query, reference = (turned(one, degrees) for one in shown)
    assert residual(query, reference)["slot"] > 0.6


@pytest.mark.parametrize("degrees", [0, 20])
@pytest.mark.parametrize("seed", [1, 2, 5])
def test_a_slot_may_have_bars_beside_its_picture(seed: int, degrees: float) -> None:
    pictures = (with_bars(scene(seed, 320, 240), 0.6), with_bars(scene(seed + 50, 320, 240), 0.35))
    query, reference = (turned(window(one), degrees) for one in pictures)
    assert residual(query, reference)["slot"] > 0.6


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_pasted_between_bars_has_borders_in_one(seed: int) -> None:
    picture = with_bars(scene(seed, 420, 260), 0.6)
    assert residual(with_pasted(picture), picture)["slot"] < 0.6


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_pasted_over_a_picture_has_borders_in_one(seed: int) -> None:
    picture = scene(seed, 420, 260)
    assert residual(with_pasted(picture), picture)["slot"] < 0.6


def test_photos_are_not_looked_at_for_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copydetect.verification.residual.slot_borders", lambda *pair: 0.9)
    assert residual(scene(1, 420, 260), scene(2, 420, 260))["slot"] == 0
    assert residual(window(scene(1, 320, 240)), window(scene(2, 320, 240)))["slot"] > 0.6


def test_equal_pictures_have_no_slot() -> None:
    picture = window(scene(1, 320, 240))
    assert residual(picture, picture)["slot"] == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_windows_that_show_different_pictures_are_one_layout(seed: int) -> None:
    match = verify(window(scene(seed, 320, 240)), window(scene(seed + 50, 320, 240)))
    assert not match.is_copy
    assert match.relation == "same_layout"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_windows_with_bars_beside_different_pictures_are_one_layout(seed: int) -> None:
    pictures = (with_bars(scene(seed, 320, 240), 0.6), with_bars(scene(seed + 50, 320, 240), 0.35))
    assert verify(*map(window, pictures)).relation == "same_layout"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_window_and_its_crop_are_copies(seed: int) -> None:
    picture = window(scene(seed, 320, 240))
    assert verify(np.ascontiguousarray(picture[20:240, 100:400]), picture).is_copy
