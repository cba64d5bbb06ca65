"""Two icons of one set, or two pages of one card, are one design; strangers on white are not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from copydetect.types import Match, Pixels, Relation
from copydetect.verification.designs import as_one_design
from copydetect.verification.matches import prepare_image
from tests.scenes import scene
from tests.test_relations import verify

GLYPHS: dict[str, list[tuple[float, float]]] = {
    "arrow": [
        (0.3, 0.45),
        (0.55, 0.45),
        (0.55, 0.3),
        (0.75, 0.5),
        (0.55, 0.7),
        (0.55, 0.55),
        (0.3, 0.55),
    ],
    "house": [
        (0.3, 0.5),
        (0.5, 0.28),
        (0.7, 0.5),
        (0.63, 0.5),
        (0.63, 0.7),
        (0.37, 0.7),
        (0.37, 0.5),
    ],
    "bolt": [(0.55, 0.25), (0.38, 0.55), (0.5, 0.55), (0.45, 0.77), (0.65, 0.45), (0.52, 0.45)],
}


def icon(glyph: str, side: int, ground: tuple[int, int, int] = (214, 64, 48)) -> Pixels:
    """A glyph on a tile with round corners, on white."""
    large = np.full((256, 256, 3), 255, np.uint8)
    for corner in ((60, 60), (196, 60), (60, 196), (196, 196)):
        cv2.circle(large, corner, 56, ground, -1)
    cv2.rectangle(large, (4, 60), (252, 196), ground, -1)
    cv2.rectangle(large, (60, 4), (196, 252), ground, -1)
    cv2.fillPoly(large, [np.rint(np.array(GLYPHS[glyph]) * 256).astype(np.int32)], (255, 250, 235))
    return np.asarray(cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def page(word: str) -> Pixels:
    """A word on white, which many pages have."""
    shown = np.full((200, 200, 3), 255, np.uint8)
    cv2.putText(shown, word, (20, 100), 0, 1.1, (20, 20, 20), 2, cv2.LINE_AA)
    return shown


def judged(query: Pixels, reference: Pixels, relation: Relation = "none") -> Match:
    """What is said of two pictures for which nothing else was found."""
    found = Match.of_strangers("q", "r", 0.5, -3.0, "nothing explains the pair")
    images = prepare_image("q", query), prepare_image("r", reference)
    return as_one_design(replace(found, relation=relation), *images)


@pytest.mark.parametrize("sides", [(128, 128), (128, 64), (64, 32)])
@pytest.mark.parametrize("glyphs", [("arrow", "house"), ("house", "bolt"), ("bolt", "arrow")])
def test_icons_of_one_set_are_one_layout(glyphs: tuple[str, str], sides: tuple[int, int]) -> None:
    query, reference = (icon(glyph, side) for glyph, side in zip(glyphs, sides, strict=True))
    found = judged(query, reference)
    assert found.relation == "same_layout"
    assert "one design" in found.reason
    corners = np.reshape(found.differs_region[0], (-1, 2)) / sides[0]
    assert corners.min() > 0.15, "the glyphs, not the tile"
    assert corners.max() < 0.85


def test_no_transform_is_needed_to_see_one_design() -> None:
    found = verify(icon("bolt", 64), icon("arrow", 32))
    assert not found.is_copy
    assert found.relation == "same_layout"


@pytest.mark.parametrize("sides", [(128, 64), (128, 32), (64, 32)])
@pytest.mark.parametrize("glyph", GLYPHS)
def test_one_icon_in_two_sizes_is_one_picture(glyph: str, sides: tuple[int, int]) -> None:
    query, reference = (icon(glyph, side) for side in sides)
    found = verify(query, reference)
    assert found.relation == "same_picture"
    assert found.confidence > 0.95


def test_a_page_is_no_other_photo_of_a_scene() -> None:
    assert judged(icon("bolt", 128), icon("house", 128), "same_scene").relation == "same_layout"


def test_a_camera_that_stood_still_shows_one_scene() -> None:
    street = scene(4, 320, 240)
    later = street.copy()
    later[90:190, 200:250] = scene(9, 50, 100)
    assert judged(street, later).relation == "same_scene"


@pytest.mark.parametrize(
    ("query", "reference"),
    [
        (page("invoice"), page("Sunday")),
        (icon("arrow", 128), icon("arrow", 128, (40, 160, 90))),
        (icon("arrow", 128), np.ascontiguousarray(icon("house", 256)[:, 48:])),
        (scene(1, 320, 240), scene(2, 320, 240)),
    ],
    ids=["one plain ground", "another colour", "another shape", "two photos"],
)
def test_what_shares_no_design_stays_as_it_is(query: Pixels, reference: Pixels) -> None:
    assert judged(query, reference).relation == "none"


def test_a_verdict_that_says_more_stays_as_it_is() -> None:
    relations: tuple[Relation, ...] = ("changed_content", "edited")
    for relation in relations:
        assert judged(icon("arrow", 64), icon("bolt", 64), relation).relation == relation
