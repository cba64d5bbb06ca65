"""Who was made from whom: crops, pasted pictures, blurred ones; and what was done, in words."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from copydetect.types import Candidate, Match, Pixels
from copydetect.verification.lineage import pasted
from copydetect.verification.matches import prepare_image, verify_pair
from tests.scenes import scene

GRAIN = np.random.default_rng(2).normal(0, 6, (240, 320, 3))
PICTURE = np.clip(scene(31, 320, 240) + GRAIN, 0, 255).astype(np.uint8)
CANDIDATE = Candidate("q", "r", math.nan, math.nan, math.nan, math.nan, 0.0, "whole", "whole", 1)


def pasted_picture() -> Pixels:
    canvas = scene(77, 400, 320)
    canvas[60:240, 90:330] = cv2.resize(PICTURE, (240, 180), interpolation=cv2.INTER_AREA)
    return canvas


def written_over() -> Pixels:
    canvas = PICTURE.copy()
    cv2.putText(canvas, "SALE", (60, 140), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255, 255, 255), 4)
    return canvas


def grey(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


COPIES = {
    "crop": np.ascontiguousarray(PICTURE[40:200, 50:260]),
    "pasted": pasted_picture(),
    "blurred": cv2.GaussianBlur(PICTURE, (0, 0), 3),
    "written over": written_over(),
    "grey": grey(PICTURE),
    "reduced": cv2.resize(PICTURE, (160, 120), interpolation=cv2.INTER_AREA),
    "enlarged": cv2.resize(PICTURE, (640, 480), interpolation=cv2.INTER_CUBIC),
}


def verify(query: Pixels, reference: Pixels) -> Match:
    return verify_pair(prepare_image("q", query), prepare_image("r", reference), CANDIDATE)


@pytest.mark.parametrize("name", COPIES)
def test_the_copy_is_told_in_both_orders(name: str) -> None:
    assert verify(COPIES[name], PICTURE).direction == "query_is_copy"
    assert verify(PICTURE, COPIES[name]).direction == "reference_is_copy"


def test_something_coloured_on_a_grey_picture_is_not_its_colour() -> None:
    plain = grey(PICTURE)
    coloured = plain.copy()
    coloured[90:150, 120:180] = (200, 40, 40)
    assert verify(coloured, plain).direction == "query_is_copy"


def test_what_fills_the_corners_of_a_turned_picture_is_not_more_of_it() -> None:
    matrix = cv2.getRotationMatrix2D((160, 120), 12, 0.7)
    size = PICTURE.shape[1::-1]
    turned = cv2.warpAffine(PICTURE, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    turned = np.asarray(cv2.GaussianBlur(turned, (0, 0), 3), np.uint8)
    assert verify(turned, PICTURE).direction == "query_is_copy"


def test_a_tone_curve_tells_no_direction() -> None:
    """Neither does what is not clipped by it differ."""
    darker = (PICTURE * 0.7).astype(np.uint8)
    match = verify(darker, PICTURE)
    assert match.direction == "unknown"
    assert match.edits == ["brightness or contrast changed"]


@pytest.mark.parametrize(("gain", "offset"), [(1.8, 0), (1.2, -110)])
def test_what_has_lost_its_lights_or_shadows_is_the_copy(gain: float, offset: float) -> None:
    copy = np.clip(PICTURE * gain + offset, 0, 255).astype(np.uint8)
    assert verify(copy, PICTURE).direction == "query_is_copy"
    assert verify(PICTURE, copy).direction == "reference_is_copy"


def test_what_has_a_see_through_stripe_is_the_copy() -> None:
    copy = PICTURE.astype(np.float32)
    copy[:, 120:180] = 0.5 * copy[:, 120:180] + 0.5 * np.array([40, 220, 60])
    copy = copy.astype(np.uint8)
    assert verify(copy, PICTURE).direction == "query_is_copy"
    assert verify(PICTURE, copy).direction == "reference_is_copy"


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("crop", "cropped to 44%"),
        ("pasted", "pasted or framed: it fills 34% of the other picture"),
        ("written over", "drawn or written over"),
        ("grey", "colour removed"),
        ("reduced", None),
    ],
)
def test_an_edit_alone_is_named_alone(name: str, edit: str | None) -> None:
    assert verify(COPIES[name], PICTURE).edits == ([edit] if edit else [])


def test_edits_are_named() -> None:
    turned = np.ascontiguousarray(np.rot90(PICTURE[:, ::-1]))
    edits = verify(turned, PICTURE).edits
    assert "mirrored" in edits
    assert any(edit.startswith("rotated") for edit in edits)
    assert "blurred" in verify(COPIES["blurred"], PICTURE).edits
    assert any(edit.startswith("cropped") for edit in verify(COPIES["crop"], PICTURE).edits)


def test_a_border_of_a_pasted_picture_breaks_off() -> None:
    box = np.array([[90.0, 60], [329, 60], [329, 239], [90, 239]])
    assert pasted(box, prepare_image("c", pasted_picture())) == 1
    inner = np.array([[40.0, 40], [280, 40], [280, 200], [40, 200]])
    assert pasted(inner, prepare_image("p", PICTURE)) == -1
    flat = np.full((240, 320, 3), 200, np.uint8)
    assert pasted(inner, prepare_image("f", flat)) == 0
