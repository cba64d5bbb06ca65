"""Polygons of what a pair shares: one for each part that follows a transform of its own."""

from __future__ import annotations

import math

import numpy as np

from copydetect.types import Candidate, Match, Pixels
from copydetect.verification.matches import MatchOptions, prepare_image, verify_pair
from tests.scenes import scene

_UNKNOWN = Candidate("q", "r", math.nan, math.nan, math.nan, math.nan, 0.0, "", "", 1)


def verify(query: Pixels, reference: Pixels, options: MatchOptions | None = None) -> Match:
    images = [prepare_image(name, one) for name, one in (("q", query), ("r", reference))]
    return verify_pair(images[0], images[1], _UNKNOWN, options=options)


def centres(region: list[list[float]]) -> list[tuple[float, float]]:
    return [tuple(np.reshape(polygon, (-1, 2)).mean(axis=0)) for polygon in region]


def swapped() -> tuple[Pixels, Pixels]:
    """A picture, and one with its halves in the other order."""
    picture = scene(5, 400, 240)
    return picture, np.ascontiguousarray(np.roll(picture, 200, axis=1))


def test_halves_that_changed_places_are_two_regions() -> None:
    match = verify(*swapped())
    assert match.is_copy
    assert len(match.query_region) == len(match.reference_region) == 2
    pairs = zip(centres(match.query_region), centres(match.reference_region), strict=True)
    for (query_x, query_y), (reference_x, reference_y) in pairs:
        assert abs(abs(query_x - reference_x) - 200) < 6
        assert abs(query_y - reference_y) < 6


def test_parts_of_one_picture_in_another_are_two_regions() -> None:
    whole, ground = scene(7, 420, 300), scene(8, 420, 300)
    ground[2:150, 5:265] = whole[10:158, 155:415]
    ground[155:298, 155:415] = whole[155:298, 5:265]
    match = verify(ground, whole, MatchOptions(min_confidence=0.3))
    assert match.is_copy
    assert len(match.query_region) == 2
    assert len({y > 150 for _, y in centres(match.query_region)}) == 2


def test_one_transform_is_one_region() -> None:
    picture = scene(6, 400, 300)
    match = verify(picture[40:260, 60:360], picture)
    assert match.is_copy
    assert len(match.query_region) == len(match.reference_region) == 1


def test_no_more_regions_than_asked_for() -> None:
    match = verify(*swapped(), MatchOptions(max_regions=1))
    assert match.is_copy
    assert len(match.query_region) == 1
