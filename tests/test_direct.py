"""Alignment without features: turned, mirrored, cropped, blurred pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from copydetect.homographies import project
from copydetect.verification.direct import align_directly
from copydetect.verification.pair_images import prepare
from tests.scenes import scene

TURNS = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]


@pytest.mark.parametrize(("turns", "mirrored"), TURNS)
def test_eight_orientations_of_a_blurred_picture(turns: int, mirrored: bool) -> None:
    picture = cv2.GaussianBlur(scene(12, 240, 180), (0, 0), 5)
    flipped = picture[:, ::-1] if mirrored else picture
    copy = np.ascontiguousarray(np.rot90(flipped, turns))
    found = align_directly(prepare("q", picture), prepare("r", copy))[0]
    assert found.mirrored == mirrored
    marks = np.zeros((180, 240), np.uint8)
    marks[50, 70] = 255
    moved = np.rot90(marks[:, ::-1] if mirrored else marks, turns)
    row, column = np.argwhere(moved)[0]
    assert np.abs(project(found.matrix, np.array([[70.0, 50.0]])) - [column, row]).max() < 3


def test_a_blurred_crop_is_placed_in_both_directions() -> None:
    whole = cv2.GaussianBlur(scene(14, 300, 220), (0, 0), 4)
    crop = np.ascontiguousarray(whole[40:180, 60:240])
    inside = align_directly(prepare("q", crop), prepare("r", whole))[0]
    assert np.abs(project(inside.matrix, np.array([[90.0, 70]])) - [150, 110]).max() < 4
    around = align_directly(prepare("q", whole), prepare("r", crop))[0]
    assert np.abs(project(around.matrix, np.array([[150.0, 110]])) - [90, 70]).max() < 4


def test_flat_pictures_have_no_alignment() -> None:
    flat = prepare("q", np.full((120, 160, 3), 77, np.uint8))
    assert align_directly(flat, prepare("r", scene(1, 160, 120))) == []
    assert align_directly(flat, flat) == []
