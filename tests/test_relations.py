"""What two pictures are to each other: planted edits get the relation that they make."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from copydetect.types import COPY_RELATIONS, Match, Pixels
from copydetect.verification.matches import MatchOptions, prepare_image, verify_pair
from tests.scenes import scene
from tests.test_matches import CANDIDATE


def verify(query: Pixels, reference: Pixels) -> Match:
    return verify_pair(prepare_image("q", query), prepare_image("r", reference), CANDIDATE)


def as_jpeg(pixels: Pixels, quality: int) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg", quality=quality)
    return np.array(Image.open(stream))


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


MADE = {
    "identical": ("identical", lambda picture: picture.copy()),
    "jpeg": ("same_picture", lambda picture: as_jpeg(picture, 60)),
    "smaller": ("same_picture", lambda picture: as_jpeg(resized(picture, 240, 180), 85)),
    "crop": ("edited", lambda picture: np.ascontiguousarray(picture[20:200, 30:280])),
    "mirrored": ("edited", lambda picture: np.ascontiguousarray(picture[:, ::-1])),
    "turned": ("edited", lambda picture: np.ascontiguousarray(np.rot90(picture))),
    "grey": ("edited", lambda picture: np.repeat(picture.mean(axis=2, keepdims=True), 3, 2)),
    "stranger": ("none", lambda picture: scene(104, 320, 240)),
}


@pytest.mark.parametrize("name", MADE)
def test_planted_edits_get_their_relation(name: str) -> None:
    relation, make = MADE[name]
    picture = scene(3, 320, 240)
    match = verify(np.asarray(make(picture), np.uint8), picture)
    assert match.relation == relation
    assert match.is_copy == (relation in COPY_RELATIONS)


@pytest.mark.parametrize("other", ["scene", "same"])
@pytest.mark.parametrize("plain", ["colour", "gradient", "round", "tiny"])
def test_too_little_content_is_said_and_proves_nothing(plain: str, other: str) -> None:
    y, x = np.mgrid[0:240, 0:320].astype(np.float32)
    levels = {
        "colour": np.full((240, 320), 90.0),
        "gradient": 40 + x / 2,
        "round": 220 - ((x - 160) ** 2 + (y - 120) ** 2) / 300,
        "tiny": np.random.default_rng(0).uniform(0, 255, (8, 8)),
    }
    little = np.repeat(levels[plain][..., None], 3, axis=2).astype(np.uint8)
    match = verify(little, scene(3, 320, 240) if other == "scene" else as_jpeg(little, 50))
    assert match.relation == "none"
    assert not match.is_copy
    assert "too little" in match.reason


def card(number: str) -> Pixels:
    """A card with a photo, lines on its ground, and words."""
    shown = np.full((300, 480, 3), (222, 232, 240), np.uint8)
    for radius in range(40, 400, 30):
        cv2.circle(shown, (300, 160), radius, (200, 214, 226), 1, cv2.LINE_AA)
    shown[60:200, 24:130] = scene(1, 106, 140)
    for row, words in enumerate(("MARTIN", "KESTREL", "46951930", number)):
        cv2.putText(shown, words, (160, 84 + 40 * row), 0, 0.6, (30, 30, 40), 2, cv2.LINE_AA)
    return as_jpeg(shown, 92)


@pytest.mark.parametrize("other", ["10558278", "10563278", "70553278"])
def test_another_digit_is_no_copy_where_all_else_is_equal(other: str) -> None:
    at_any = MatchOptions(min_confidence=0.01)
    images = [prepare_image(name, card(name)) for name in ("10553278", other)]
    found = verify_pair(*images, CANDIDATE, options=at_any)
    assert found.confidence > at_any.min_confidence
    assert (found.relation, found.is_copy) == ("changed_content", False)
    assert len(found.differs_region) == 1
    assert verify(as_jpeg(card("10553278"), 70), card("10553278")).relation == "same_picture"


def statement(lines: list[str]) -> Pixels:
    page = np.full((900, 700, 3), 250, np.uint8)
    cv2.rectangle(page, (0, 0), (700, 70), (60, 90, 150), -1)
    for number, line in enumerate(lines):
        at = (40, 130 + number * 45)
        cv2.putText(page, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (30, 30, 30), 2, cv2.LINE_AA)
    return page


def test_a_page_that_says_something_else_counts_as_a_copy_only_where_it_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    lines = [
        f"payment {rng.integers(10**8, 10**9)}  {rng.integers(10, 9999)}.17" for _ in range(16)
    ]
    forged = [*lines[:7], "transfer 711036285  8431.27", *lines[8:]]
    images = [prepare_image(name, statement(page)) for name, page in (("a", lines), ("b", forged))]
    refused = verify_pair(*images, CANDIDATE)
    assert (refused.relation, refused.is_copy) == ("changed_content", False)
    counted = verify_pair(*images, CANDIDATE, options=MatchOptions(counted=("changed_content",)))
    assert (counted.relation, counted.is_copy) == ("changed_content", True)
    assert counted.confidence == refused.confidence < 0.5
    assert counted.differs_region


def form(words: list[str]) -> Pixels:
    page = np.full((700, 700, 3), 252, np.uint8)
    for row, word in enumerate(words):
        top = 40 + 95 * row
        cv2.putText(page, "First name", (40, top + 18), 0, 0.6, (60, 60, 60), 1, cv2.LINE_AA)
        cv2.rectangle(page, (40, top + 26), (660, top + 70), (0, 0, 0), 1)
        cv2.putText(page, word, (50, top + 60), 3, 1, (20, 30, 120), 1, cv2.LINE_AA)
    return page


def test_a_reduced_form_says_the_same_and_another_filling_does_not() -> None:
    words = ["River", "Stone", "Market", "Evening", "Copper", "Garden"]
    picture = form(words)
    for side in (525, 600):
        same, other = (
            verify(as_jpeg(resized(form([*words[:5], word]), side, side), 85), picture)
            for word in ("Garden", "Gander")
        )
        assert same.relation == "same_picture"
        assert not other.is_copy


def test_a_speck_on_a_page_does_not_make_it_say_something_else() -> None:
    page = np.full((700, 700, 3), 255, np.uint8)
    page[200:440, 200:520] = scene(5, 320, 240)
    marked = page.copy()
    cv2.circle(marked, (620, 620), 4, (0, 0, 0), -1)
    found = verify(as_jpeg(resized(marked, 500, 500), 75), page)
    assert found.relation in ("same_picture", "edited")


@pytest.mark.parametrize(("side", "quality"), [(350, 40), (350, 85), (600, 60), (700, 60)])
def test_one_other_letter_on_a_reduced_form_is_told(side: int, quality: int) -> None:
    picture, other = (form(["River", "Stone", "Market", word]) for word in ("Cat", "Gat"))
    reduced = as_jpeg(resized(other, side, side), quality)
    assert verify(reduced, other).is_copy
    found = verify(reduced, picture)
    assert (found.relation, found.is_copy) == ("changed_content", False)


def month(first: int, days: int) -> Pixels:
    page = np.full((560, 700, 3), 255, np.uint8)
    cv2.rectangle(page, (0, 0), (700, 90), (180, 30, 50), -1)
    for day in range(1, days + 1):
        row, column = divmod(day - 1 + first, 7)
        x, y = 10 + 97 * column, 100 + 75 * row
        cv2.rectangle(page, (x, y), (x + 97, y + 75), (200, 200, 200), 1)
        cv2.putText(page, str(day), (x + 20, y + 45), 0, 0.9, (20, 20, 20), 2, cv2.LINE_AA)
    return page


def test_a_month_moved_onto_another_is_one_layout() -> None:
    for first in (1, 2, 3):
        match = verify(month(0, 30), month(first, 30))
        assert not match.is_copy
        assert match.relation == "same_layout"
    assert verify(as_jpeg(month(0, 30), 60), month(0, 30)).is_copy
