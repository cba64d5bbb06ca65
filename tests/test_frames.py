"""Frames: pictures inside are found where they are, and photos have none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from copydetect.description.frames import Frame, find_frames
from copydetect.types import Pixels
from tests.scenes import scene

PICTURE = scene(5, 160, 120)


def pasted(canvas: Pixels, left: int, top: int, picture: Pixels = PICTURE) -> Frame:
    height, width = picture.shape[:2]
    canvas[top : top + height, left : left + width] = picture
    return Frame(left, top, left + width, top + height)


def best_overlap(canvas: Pixels, frame: Frame, count: int = 4) -> float:
    return max((found.overlap(frame) for found in find_frames(canvas, count)), default=0.0)


def window() -> Pixels:
    """A plain window with a bar and lines of words."""
    canvas = np.full((400, 300, 3), 250, np.uint8)
    canvas[:30] = (40, 60, 160)
    for row in range(200, 380, 16):
        text = "the quick brown fox jumps"
        cv2.putText(canvas, text, (20, row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1)
    return canvas


def test_a_picture_in_a_window_is_found() -> None:
    canvas = window()
    assert best_overlap(canvas, pasted(canvas, 60, 50)) > 0.9


def photo(seed: int) -> Pixels:
    """Clouds of colour, without straight lines."""
    noise = np.random.default_rng(seed).normal(0, 1, (480, 640, 3))
    clouds = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (10.0, 30.0))
    return np.clip(128 + 40 * clouds, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_on_another_picture_is_found(seed: int) -> None:
    canvas = photo(seed)
    assert best_overlap(canvas, pasted(canvas, 300, 200)) > 0.85


def test_margins_and_bars_are_taken_off() -> None:
    canvas = np.zeros((300, 300, 3), np.uint8)
    frame = pasted(canvas, 70, 90)
    assert find_frames(canvas, 1)[0].overlap(frame) > 0.95
    slot = window()
    pasted(slot, 30, 40, np.zeros((150, 240, 3), np.uint8))
    assert best_overlap(slot, pasted(slot, 70, 55)) > 0.9


def test_the_cells_of_a_collage_are_found() -> None:
    canvas = np.full((260, 340, 3), 255, np.uint8)
    for number, (left, top) in enumerate([(5, 5), (175, 5), (5, 135), (175, 135)]):
        frame = pasted(canvas, left, top, scene(20 + number, 160, 120))
    assert best_overlap(canvas, frame) > 0.85


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_alone_has_no_frames(seed: int) -> None:
    assert find_frames(photo(seed), 4) == []


@pytest.mark.parametrize("size", [(1, 1), (31, 500), (32, 32), (40, 4000), (2000, 33)])
@pytest.mark.parametrize("noisy", [False, True])
def test_frames_lie_in_the_image_whatever_its_size(size: tuple[int, int], noisy: bool) -> None:
    pixels = np.full((*size, 3), 128, np.uint8)
    if noisy:
        pixels = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    for frame in find_frames(pixels, 4):
        assert 0 <= frame.left < frame.right <= size[1]
        assert 0 <= frame.top < frame.bottom <= size[0]
        assert frame.cut(pixels).size


def test_frames_come_best_first_and_no_more_than_asked() -> None:
    canvas = window()
    pasted(canvas, 60, 50)
    every = find_frames(canvas, 6)
    assert find_frames(canvas, 2) == every[:2]
