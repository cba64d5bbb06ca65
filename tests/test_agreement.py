"""Aligned pixels: copies agree, look-alikes don't, and what is displaced is measured."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from copydetect.homographies import project
from copydetect.types import Pixels
from copydetect.verification.agreement import (
    Overlap,
    compare,
    equalise_sharpness,
    overlap,
    refine,
    suppress_noise,
)
from copydetect.verification.pair_images import PairImage, prepare
from tests.scenes import scene

IDENTITY = np.eye(3)


def prepared(pixels: Pixels) -> PairImage:
    return prepare("image", pixels)


def test_tone_curve_and_lost_colour_are_no_difference() -> None:
    picture = scene(1, 300, 220)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    toned = (255 * (grey / 255.0) ** 1.6 * 0.7 + 20).astype(np.uint8)
    pair = overlap(IDENTITY, prepared(picture), prepared(cv2.cvtColor(toned, cv2.COLOR_GRAY2RGB)))
    assert pair is not None
    cells = compare(pair)
    assert cells.correlation[cells.used & ~cells.flat].min() > 0.9


def test_an_overlay_spoils_its_own_cells_only() -> None:
    picture = scene(1, 300, 220)
    covered = picture.copy()
    covered[:100, :120] = scene(50, 120, 100)
    pair = overlap(IDENTITY, prepared(picture), prepared(covered))
    assert pair is not None
    cells = compare(pair)
    assert cells.agree[5:][cells.used[5:] & ~cells.flat[5:]].all()
    assert not cells.agree[:3, :4].any()


@pytest.mark.parametrize("shift", [(1.5, 0.0), (0.0, -1.5), (-1.0, 1.0)])
def test_displacement_is_measured_and_taken_out(shift: tuple[float, float]) -> None:
    picture = scene(6, 300, 220)
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]])
    moved = cv2.warpPerspective(picture, move, (300, 220), borderMode=cv2.BORDER_REFLECT)
    query, reference = prepared(picture), prepared(moved)
    matrix = IDENTITY
    for _ in range(3):
        pair = overlap(matrix, query, reference)
        assert pair is not None
        matrix = refine(matrix, query, reference, compare(pair), pair)
    corners = np.array([[20.0, 20], [280, 20], [280, 200], [20, 200]])
    assert np.abs(project(matrix, corners) - project(move, corners)).max() < 0.4


def test_blur_is_equalised_and_its_side_told() -> None:
    picture = scene(8, 300, 220)
    soft = cv2.GaussianBlur(picture, (0, 0), 3)
    pair = overlap(IDENTITY, prepared(soft), prepared(picture))
    assert pair is not None
    equal, blur_px = equalise_sharpness(pair)
    assert 1.5 < blur_px < 5
    assert compare(equal).correlation.mean() > compare(pair).correlation.mean()
    swapped = overlap(IDENTITY, prepared(picture), prepared(soft))
    assert swapped is not None
    assert equalise_sharpness(swapped)[1] < -1.5


def test_blank_pictures_have_no_sharpness_to_equalise() -> None:
    blank = np.full((60, 80), 250, np.float32)
    frame = np.ones_like(blank), np.eye(3), np.eye(3), 8
    with np.errstate(all="raise"):
        assert equalise_sharpness(Overlap(blank, blank, *frame))[1] == 0


def test_noise_hides_nothing_and_only_noise_is_suppressed() -> None:
    picture = scene(8, 300, 220)
    rng = np.random.default_rng(0)
    soft = cv2.GaussianBlur(picture, (0, 0), 1.5)
    noisy = np.clip(soft + rng.normal(0, 60, soft.shape), 0, 255).astype(np.uint8)
    pair = overlap(IDENTITY, prepared(noisy), prepared(picture))
    assert pair is not None
    before, after = compare(pair), compare(suppress_noise(pair))
    assert after.agree.sum() > 1.5 * before.agree.sum()
    other = overlap(IDENTITY, prepared(noisy), prepared(scene(9, 300, 220)))
    assert other is not None
    assert compare(suppress_noise(other)).agree.sum() < 0.2 * after.agree.sum()
    both = overlap(IDENTITY, prepared(noisy), prepared(noisy))
    assert both is not None
    assert suppress_noise(both) is both, "what both have is structure"
    clean = overlap(IDENTITY, prepared(soft), prepared(picture))
    assert clean is not None
    assert suppress_noise(clean) is clean


def test_the_coarser_image_sets_the_frame() -> None:
    picture = scene(8, 400, 300)
    small = cv2.resize(picture, (100, 75), interpolation=cv2.INTER_AREA)
    down = np.array([[0.25, 0, -0.375], [0, 0.25, -0.375], [0, 0, 1.0]])
    for query, reference, matrix in (
        (picture, small, down),
        (small, picture, np.linalg.inv(down)),
    ):
        pair = overlap(matrix, prepared(query), prepared(reference))
        assert pair is not None
        assert max(pair.query.shape) <= 101
        assert compare(pair).correlation.mean() > 0.97


def test_images_that_hardly_overlap_say_nothing() -> None:
    away = np.array([[1, 0, 295.0], [0, 1, 0], [0, 0, 1]])
    assert overlap(away, prepared(scene(1, 300, 220)), prepared(scene(1, 300, 220))) is None


def test_flat_cells_are_told_from_those_that_disagree() -> None:
    half = scene(3, 300, 220)
    half[:, :150] = 128
    pair = overlap(IDENTITY, prepared(half), prepared(half.copy()))
    assert pair is not None
    cells = compare(pair)
    assert (cells.flat == cells.used)[:, :5].all()
    assert cells.agree[:, 6:].sum() > 0.9 * cells.used[:, 6:].sum()
