"""Hard copies and the look-alikes beside them: what the decision on relations learns from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from copydetect.training.drawn_alikes import OVER_PICTURES
from copydetect.training.hard_copies import Watermark, drawn_over, marked, strongly_edited
from copydetect.training.relation_pairs import differ, hard_copies_of, of_look_alikes
from tests.scenes import scene

SCENES = [scene(seed, 320, 240) for seed in range(8)]


@pytest.mark.parametrize("edit", [drawn_over, strongly_edited])
def test_an_edit_follows_its_generator(edit: object) -> None:
    assert callable(edit)
    made = [
        [edit(np.random.default_rng(seed), SCENES[0], SCENES[1:]) for seed in range(6)]
        for _ in range(2)
    ]
    assert all(np.array_equal(one, other) for one, other in zip(*made, strict=True))
    assert sum(differ(one, SCENES[0]) for one in made[0]) >= 5


def test_what_is_drawn_over_leaves_most_of_the_picture() -> None:
    """As long as nothing is added around it."""
    shares = []
    for seed in range(40):
        made = drawn_over(np.random.default_rng(seed), SCENES[0], SCENES[1:])
        if made.shape == SCENES[0].shape:
            shares.append(float((cv2.absdiff(made, SCENES[0]).max(axis=2) <= 2).mean()))
    assert len(shares) > 20
    assert np.median(shares) > 0.6


def test_marks_leave_most_of_a_page() -> None:
    page = np.full((600, 420, 3), 255, np.uint8)
    page[100:500:20, 40:380] = 0
    for seed in range(12):
        made = marked(np.random.default_rng(seed), page)
        same = (made == page).all(axis=2)
        assert made.shape == page.shape
        assert 0.6 < same.mean() < 1


def test_a_watermark_is_the_same_on_every_picture() -> None:
    """Where it lies, both pictures have moved towards its colour."""
    mark = Watermark("sample", 0.1, 0.1, 30, 0.5, (255, 255, 255))
    dark, light = np.full((200, 300, 3), 20, np.uint8), np.full((200, 300, 3), 120, np.uint8)
    lies = [(mark(picture) > picture).any(axis=2) for picture in (dark, light)]
    assert 0.02 < lies[0].mean() < 0.6
    assert (lies[0] == lies[1]).mean() > 0.99


def test_copies_and_look_alikes_come_from_one_drawing() -> None:
    """Captions and watermarks are no difference beside the clean picture, and one beside each
    other."""
    pairs = list(of_look_alikes(np.random.default_rng(0), SCENES, 1))
    for kind in OVER_PICTURES:
        relations = {pair.relation for pair in pairs if pair.source == f"made {kind}"}
        assert "edited" in relations
        assert relations & {"changed_content", "none"}


def test_hard_copies_are_copies_of_the_picture_beside_them() -> None:
    pairs = list(hard_copies_of(np.random.default_rng(1), SCENES, "scenes", 12))
    assert len(pairs) == 12
    assert {(pair.relation, pair.source) for pair in pairs} == {("edited", "scenes")}
    for pair in pairs:
        small = cv2.resize(pair.second, (32, 24), interpolation=cv2.INTER_AREA).astype(np.float32)
        among = [cv2.resize(one, (32, 24), interpolation=cv2.INTER_AREA) for one in SCENES]
        assert min(float(np.abs(small - one).mean()) for one in among) < 8
