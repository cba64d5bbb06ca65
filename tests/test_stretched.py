"""Copies that were stretched along one axis, alone or pasted into another picture."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from copydetect.homographies import project
from copydetect.images.decoding import decode
from copydetect.types import Candidate, Match, Pixels
from copydetect.verification.matches import MatchOptions, prepare_image, verify_pair
from tests.scenes import scene

PICTURES = Path(__file__).parents[1] / "sample_data" / "photos" / "pictures"
PHOTOS = ("astronaut", "coffee", "rocket", "chelsea")
TIMES = 2.5
ALONG = {"across": math.sqrt(TIMES), "down": 1 / math.sqrt(TIMES)}


def photo(name: str) -> Pixels:
    return decode((PICTURES / f"{name}.jpg").read_bytes(), 448).pixels


def stretched(picture: Pixels, across: float) -> Pixels:
    size = round(picture.shape[1] * across), round(picture.shape[0] / across)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def pasted(picture: Pixels) -> tuple[Pixels, float]:
    """On a made scene, most of whose width or height it fills; and how much it was scaled."""
    scale = min(520 / picture.shape[1], 400 / picture.shape[0])
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    canvas = scene(11, 640, 480).copy()
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    canvas[30 : 30 + size[1], 50 : 50 + size[0]] = small
    return canvas, scale


def verify(
    query: Pixels, reference: Pixels, similarity: float = 0.6, score: float = math.nan
) -> Match:
    options = MatchOptions(scored=not math.isnan(score))
    silent = math.nan
    return verify_pair(
        prepare_image("q", query, options),
        prepare_image("r", reference, options),
        Candidate("q", "r", similarity, silent, 0.2, silent, score, "whole", "whole", 1),
        None,
        options,
    )


def test_a_stretched_copy_is_proved_whose_edges_seem_displaced_all_over() -> None:
    picture = photo("camera")
    assert verify(stretched(picture, ALONG["across"]), picture).is_copy


@pytest.mark.parametrize("along", ALONG)
@pytest.mark.parametrize("name", PHOTOS)
def test_a_stretched_copy_is_proved(name: str, along: str) -> None:
    picture = photo(name)
    assert verify(stretched(picture, ALONG[along]), picture).is_copy


@pytest.mark.parametrize("along", ALONG)
@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_stretched_copy_is_proved_where_it_is_pasted(
    name: str, along: str, swapped: bool
) -> None:
    picture = photo(name)
    flat = stretched(picture, ALONG[along])
    screen, scale = pasted(flat)
    match = verify(picture, screen) if swapped else verify(screen, picture)
    assert match.is_copy, match.reason
    to_screen = np.array(match.transform).reshape(3, 3)
    to_screen = to_screen if swapped else np.linalg.inv(to_screen)
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    zoom = scale * np.array([flat.shape[1] / width, flat.shape[0] / height])
    error = np.linalg.norm(project(to_screen, corners) - (corners * zoom + [50, 30]), axis=1)
    assert error.max() < 0.03 * math.hypot(640, 480)


@pytest.mark.parametrize("along", ALONG)
def test_another_picture_on_the_same_screen_is_no_copy(along: str) -> None:
    screen, _ = pasted(stretched(photo("coffee"), ALONG[along]))
    assert not verify(screen, photo("rocket")).is_copy


def test_a_query_is_stretched_only_where_the_descriptor_speaks_for_the_pair() -> None:
    picture = photo("astronaut")
    screen, _ = pasted(stretched(picture, ALONG["down"]))
    for score in (math.nan, -2.0):
        assert verify(screen, picture, similarity=0.6, score=score).is_copy
        assert not verify(screen, picture, similarity=0.3, score=score).is_copy
        assert not verify(screen, picture, similarity=math.nan, score=score).is_copy
