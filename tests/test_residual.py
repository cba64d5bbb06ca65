"""At full size: alignment to well under a pixel, and numbers that tell what is left."""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
import pytest

from copydetect.homographies import project
from copydetect.types import Pixels
from copydetect.verification.agreement import Overlap
from copydetect.verification.fine_alignment import align_finely, flow_between, with_one_tone
from copydetect.verification.pair_images import LARGEST_PX, PairImage, prepare
from copydetect.verification.relations import differing_regions
from copydetect.verification.residual import NAMES, Residual, measure_residual
from tests.scenes import scene
from tests.test_relations import as_jpeg


def page(amount: str, width: int = 420, height: int = 560) -> Pixels:
    """A sheet of lines, one of which ends with the amount."""
    sheet = np.full((height, width, 3), 250, np.uint8)
    for row, words in enumerate(("Invoice 4471", "Paper", "Copper wire", "Delivery", "Total")):
        cv2.putText(sheet, words, (30, 60 + 70 * row), 0, 0.7, (30, 30, 30), 1, cv2.LINE_AA)
        value = amount if words == "Total" else f"{17 * row + 3}.20"
        cv2.putText(sheet, value, (300, 60 + 70 * row), 0, 0.7, (30, 30, 30), 1, cv2.LINE_AA)
    return sheet


def whole(pixels: Pixels) -> PairImage:
    return prepare("", pixels, working_px=LARGEST_PX)


def residual(query: Pixels, reference: Pixels, matrix: np.ndarray | None = None) -> Residual:
    matrix = np.eye(3) if matrix is None else matrix
    found = measure_residual(matrix, whole(query), whole(reference))
    assert found is not None
    assert found.values.shape == (len(NAMES),)
    return found


def nearer_than_behind(picture: Pixels, reach_px: float) -> Pixels:
    """The scene from another place: the lower half is nearer and moves more."""
    height, width = picture.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(cv2.remap(picture, x + reach_px * (y / height), y, cv2.INTER_LINEAR))


@pytest.mark.parametrize("off_px", [0.4, -2.5])
def test_a_small_shift_is_found_to_a_tenth_of_a_pixel(off_px: float) -> None:
    picture = scene(3, 320, 240)
    there = np.array([[1.1, 0, 4.3], [0, 1.1, -2.7], [0, 0, 1]])
    moved = np.asarray(cv2.warpPerspective(picture, there, (340, 250)), np.uint8)
    start = there + np.array([[0, 0, off_px], [0, 0, -off_px], [0, 0, 0]])
    found = align_finely(start, prepare("q", picture), prepare("r", moved), 1200)
    assert found is not None
    places = np.array([[60.0, 60], [250, 70], [160, 180]])
    assert np.abs(project(found[0], places) - project(there, places)).max() < 0.15


@pytest.mark.parametrize("off_px", [0.4, 1.2, -1.2, 2.0, -3.0])
def test_thin_lines_that_lie_beside_each_other_lie_on_each_other_then(off_px: float) -> None:
    page = np.full((480, 640, 3), 250, np.uint8)
    for row in range(8):
        cv2.putText(page, f"{row} Copper 10{row}.5", (40, 50 + 55 * row), 0, 1, (40, 40, 40), 1, 16)
        cv2.rectangle(page, (30, 20 + 55 * row), (600, 65 + 55 * row), (0, 0, 0), 1)
    there = np.array([[0.9, 0.01, 3.3], [-0.01, 0.9, 5.7], [0, 0, 1]])
    moved = cv2.warpPerspective(page, there, (600, 450), borderValue=(250, 250, 250))
    start = there + np.array([[0, 0, off_px], [0, 0, -off_px], [0, 0, 0]])
    found = align_finely(start, whole(page), whole(np.asarray(moved, np.uint8)), 1200)
    assert found is not None
    places = np.array([[40.0, 40], [600, 60], [320, 240], [60, 440], [590, 430]])
    assert np.abs(project(found[0], places) - project(there, places)).max() < 0.15


@pytest.mark.parametrize("width", [40, 60, 100])
def test_a_long_strip_is_aligned_by_all_of_its_width(width: int) -> None:
    rng = np.random.default_rng(0)
    strip = np.full((1200, width, 3), 250, np.uint8)
    for y in range(16, 1198, 19):
        words = f"{rng.integers(10, 999)}.{rng.integers(10, 99)} wire"
        cv2.putText(strip, words, (3, y), 0, 0.42, (40, 40, 40), 1, 16)
    softer = as_jpeg(np.asarray(cv2.GaussianBlur(strip, (0, 0), 0.6), np.uint8), 60)
    start = np.array([[1, 0, -2.0], [0, 1, 2.0], [0, 0, 1]])
    found = align_finely(start, whole(strip), whole(softer), 1200)
    assert found is not None
    places = np.array([[0.1, 0.1], [0.9, 0.5], [0.5, 0.9]]) * [width, 1200]
    assert np.abs(project(found[0], places) - places).max() < 0.4


def test_strangers_are_not_led_astray() -> None:
    pictures = [whole(scene(seed, 320, 240)) for seed in range(6)]
    corners = np.array([[0.0, 0], [320, 0], [320, 240], [0, 240]])
    for query, reference in itertools.pairwise(pictures):
        found = align_finely(np.eye(3), query, reference, 1200)
        assert found is not None
        assert np.abs(project(found[0], corners) - corners).max() < 160


def test_any_tone_curve_is_taken_out() -> None:
    picture = scene(3, 320, 240)
    negative = np.asarray(255 - (picture / 255.0) ** 0.6 * 200, np.uint8)
    found = align_finely(np.eye(3), prepare("q", picture), prepare("r", negative), 1200)
    assert found is not None
    _, explained = with_one_tone(found[1])
    assert explained > 0.9


def test_a_small_black_mark_on_white_keeps_its_level() -> None:
    grey = np.tile(np.linspace(200, 250, 96, dtype=np.float32), (96, 1))
    grey[40:46, 40:44] = 10
    nowhere = np.eye(3)
    for reference, black in ((grey - 5, 5), (255 - grey, 245)):
        pair = Overlap(grey, reference, np.ones_like(grey), nowhere, nowhere, 16)
        toned, explained = with_one_tone(pair)
        assert explained > 0.9
        assert abs(float(toned.query[42, 42]) - black) < 4


def test_compression_leaves_little_and_no_places() -> None:
    sheet = page("118.40")
    left = residual(as_jpeg(sheet, 60), sheet)
    assert left["blobs"] == 0
    assert left["fine_p5"] > 0.8
    assert not differing_regions(left, whole(sheet))


def test_one_other_digit_is_found_where_it_is() -> None:
    left = residual(page("118.40"), as_jpeg(page("113.40"), 80))
    assert left["blobs"] >= 1
    regions = differing_regions(left, whole(page("118.40")))
    assert len(regions) == 1
    x, y = np.reshape(regions[0], (-1, 2)).mean(axis=0)
    (before, _), _ = cv2.getTextSize("11", 0, 0.7, 1)
    assert math.hypot(x - (300 + before + 6), y - 333) < 15


def test_another_viewpoint_displaces_edges_all_over_and_a_crop_does_not() -> None:
    picture = scene(5, 480, 360)
    elsewhere = residual(nearer_than_behind(picture, 14), picture)
    shift = np.array([[1.0, 0, 60], [0, 1, 40], [0, 0, 1]])
    crop = residual(np.ascontiguousarray(picture[40:300, 60:420]), picture, shift)
    assert crop["flow_p97"] < 0.5
    assert elsewhere["flow_p97"] > 2 * crop["flow_p97"]
    assert elsewhere["middle_p5"] < crop["middle_p5"]


def test_what_hardly_overlaps_is_not_measured() -> None:
    picture = prepare("q", scene(5, 320, 240))
    away = np.array([[1.0, 0, 315], [0, 1, 0], [0, 0, 1]])
    assert measure_residual(away, picture, picture) is None


def test_a_low_and_wide_pair_has_no_flow_and_breaks_nothing() -> None:
    grey = np.random.default_rng(0).uniform(0, 255, (28, 1200)).astype(np.float32)
    inside = np.ones_like(grey)
    identity = np.eye(3)
    pair = Overlap(grey, grey, inside, identity, identity, 16)
    assert not flow_between(pair).any()
