"""The decision on relations: learnt from labelled pairs, and read as it was written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from copydetect.errors import ModelError, OptionError
from copydetect.training.relation_decision import Labelled, fit, nothing_differs
from copydetect.training.relation_pairs import differ, of_frames, scanned
from copydetect.types import COPY_RELATIONS
from copydetect.verification import residual
from copydetect.verification.agreement import Overlap
from copydetect.verification.matches import prepare_image
from copydetect.verification.relations import (
    NAMES,
    TOLD,
    RelationVerdict,
    is_resize,
    load_relations,
    odds_told,
)
from copydetect.verification.residual import Residual
from tests.scenes import scene


def drawn(pairs: int, seed: int) -> Labelled:
    """Pairs of which one number tells the relation, among numbers that tell nothing."""
    rng = np.random.default_rng(seed)
    of_relation = rng.integers(0, len(TOLD), pairs)
    values = rng.normal(size=(pairs, len(NAMES))).astype(np.float32)
    values[:, NAMES.index("full_middle_p2")] = of_relation + rng.normal(0, 0.1, pairs)
    values[:, NAMES.index("full_rest_peak")] = 90  # something differs in all of them
    sources = np.array([f"source {number % 9}" for number in range(pairs)])
    return Labelled(values, np.array(TOLD)[of_relation], sources)


def test_what_tells_relations_is_learnt_and_read_as_written(tmp_path: Path) -> None:
    made = fit(drawn(500, 1))
    assert made["unseen"]["full size"]["micro_ap"] > 0.95
    assert min(made["unseen"]["told"].values()) > 0.8
    path = tmp_path / "relations.json"
    path.write_text(json.dumps(made), encoding="utf-8")
    decision, others = load_relations(path), drawn(200, 2)
    odds, shares = decision.judge(others.values)
    said = np.array(TOLD)[shares.argmax(axis=1)]
    assert (said == others.relations).mean() > 0.9
    assert ((odds > 0) == others.copies).mean() > 0.95
    assert np.allclose(shares.sum(axis=1), 1)


def test_relations_that_are_copies_speak_for_a_copy() -> None:
    shares = np.eye(len(TOLD))
    odds = dict(zip(TOLD, odds_told(shares).tolist(), strict=True))
    assert {one for one in TOLD if odds[one] > 0} == {"same_picture", "edited"}
    decision, values = load_relations(), drawn(60, 5).values
    told = decision.judge(values)[1]
    alone = replace(decision, told_slope=0.0).judge(values)[0]
    both = decision.judge(values)[0]
    assert np.array_equal(np.sign(both - alone), np.sign(odds_told(told)))


@pytest.mark.parametrize(
    ("matrix", "size", "resized"),
    [
        ([2, 0, 0.5, 0, 2, 0.5, 0, 0, 1], (600, 400), True),
        ([2.08, 0.02, 0, 0.02, 2.07, -0.4, 0.001, 0, 1], (64, 64), True),  # an icon, to a pixel
        ([1, -0.02, 3, 0.02, 1, -3, 0, 0, 1], (300, 200), True),  # a sheet on another scanner
        ([1, -0.07, 7, 0.07, 1, -10, 0, 0, 1], (300, 200), False),
        ([-1, 0, 299, 0, 1, 0, 0, 0, 1], (300, 200), False),
        ([1, 0, -20, 0, 1, 0, 0, 0, 1], (280, 200), False),
    ],
    ids=["twice as large", "icon", "scan", "turned", "mirrored", "cropped"],
)
def test_a_resize_lays_corners_on_corners(
    matrix: list[float], size: tuple[int, int], resized: bool
) -> None:
    first = (32, 32) if size == (64, 64) else (300, 200)
    images = [
        prepare_image(name, scene(1, *one), full_size_px=one)
        for name, one in (("a", first), ("b", size))
    ]
    assert is_resize(np.reshape(matrix, (3, 3)).astype(np.float64), *images) == resized


def test_frames_of_which_one_was_only_recoloured_teach_nothing() -> None:
    pairs = drawn(3, 4)
    relations = np.array(["same_scene", "same_scene", "changed_content"])
    shown = {"middle_p2": 0.7, "rest_peak": 40, "colour_p98": 90, "patches": 0, "blobs": 0}
    for name, value in {**shown, "raw_ratio": 2, "moved": 0}.items():
        pairs.values[:, NAMES.index(f"full_{name}")] = value
    pairs.values[1, NAMES.index("full_moved")] = 0.4  # something went by
    unseen = nothing_differs(Labelled(pairs.values, relations, pairs.sources))
    assert unseen.tolist() == [True, False, False]


def test_a_relation_without_pairs_is_named() -> None:
    pairs = drawn(60, 3)
    kept = pairs.relations != "same_scene"
    with pytest.raises(OptionError, match="same_scene"):
        fit(Labelled(pairs.values[kept], pairs.relations[kept], pairs.sources[kept]))


def test_no_decision_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match=r"text\.json"):
        load_relations(tmp_path / "text.json")


def left(middle_differs: float, patches: int, all_ground: float = 1.0, **others: float) -> Residual:
    """A residual of these numbers, and nothing else."""
    values = np.zeros(len(residual.NAMES), np.float32)
    numbers = {"middle_differs": middle_differs, "patches": patches, "all_ground": all_ground}
    for name, value in (numbers | others).items():
        values[residual.NAMES.index(name)] = value
    nothing = np.zeros((1, 1), np.float32)
    pair = Overlap(nothing, nothing, nothing, np.eye(3), np.eye(3), 8)
    return Residual(values, np.eye(3), pair, pair, nothing > 0)


@pytest.mark.parametrize(("patches", "relation"), [(1, "changed_content"), (9, "same_layout")])
def test_a_page_that_differs_in_many_places_is_filled_anew(patches: int, relation: str) -> None:
    shares = np.eye(len(TOLD))[TOLD.index("changed_content")]
    assert RelationVerdict(0.1, shares, left(0.2, patches)).relation(False, True) == relation


@pytest.mark.parametrize(("ground", "relation"), [(0.2, "changed_content"), (0.7, "same_layout")])
def test_a_picture_with_other_words_is_no_page_filled_anew(ground: float, relation: str) -> None:
    """As many places differ; on a page they are ink on one ground, on a picture they are not."""
    shares = np.eye(len(TOLD))[TOLD.index("changed_content")]
    verdict = RelationVerdict(0.1, shares, left(0.2, 9, ground))
    assert verdict.relation(False, True) == relation


@pytest.mark.parametrize(
    ("grain", "textured", "likeliest", "relation"),
    [
        (0.2, 0.2, "same_scene", "changed_content"),
        (0.9, 0.2, "same_scene", "same_scene"),
        (np.nan, 0.2, "same_scene", "same_scene"),
        (0.2, 0.5, "same_layout", "same_layout"),
        (0.9, 0.5, "same_layout", "same_scene"),
    ],
)
def test_what_is_drawn_is_no_scene_and_a_photo_no_layout(
    grain: float, textured: float, likeliest: str, relation: str
) -> None:
    """What is drawn has no grain, not even on a gradient."""
    shares = np.array([0, 0, 0.2, 0.3, 0, 0])
    shares[TOLD.index(likeliest)] = 0.5
    grains = {"grain_query": grain, "grain_reference": grain}
    seen = left(0.01, 1, textured=textured, **grains)
    assert RelationVerdict(0.1, shares, seen).relation(False, True) == relation


@pytest.mark.parametrize("is_copy", [True, False])
@pytest.mark.parametrize("resize", [True, False])
def test_a_relation_goes_with_the_verdict(is_copy: bool, resize: bool) -> None:
    """Whatever the shares say: a copy gets one of the copies' relations, others none of them."""
    for best in range(len(TOLD)):
        shares = np.full(len(TOLD), 0.1)
        shares[best] = 0.5
        relation = RelationVerdict(0.5, shares, left(0.01, 1)).relation(is_copy, resize)
        assert (relation in COPY_RELATIONS) == is_copy
        assert resize or relation != "same_picture"


@pytest.mark.parametrize(("levels", "relation"), [(30, "same_picture"), (60, "edited")])
def test_a_picture_with_other_levels_is_another_one(levels: float, relation: str) -> None:
    """A line that is darker, a part of another tone: the relations' trees see tone as quality."""
    grey = np.full((20, 20), 100, np.float32)
    darker = grey.copy()
    darker[5:15, 5:15] -= levels
    seen = left(0.0, 0)
    pair = replace(seen.pair, query=grey, reference=darker, inside=np.ones_like(grey))
    shares = np.eye(len(TOLD))[TOLD.index("same_picture")]
    verdict = RelationVerdict(0.9, shares, replace(seen, as_they_are=pair))
    assert verdict.relation(True, True) == relation


def test_frames_that_stand_still_are_no_other_scene() -> None:
    still = scene(3, 160, 120)
    moved = np.roll(still, 9, axis=1)
    assert not differ(still, still)
    rng = np.random.default_rng(0)
    pairs = list(of_frames(rng, [still, still, moved], "clip", 12))
    scenes = [pair for pair in pairs if pair.relation == "same_scene"]
    assert scenes
    assert {pair.relation for pair in pairs} <= {"same_scene", "same_picture", "edited"}


def test_two_scans_of_a_sheet_are_no_two_files_of_one_picture() -> None:
    sheet = np.full((300, 220, 3), 255, np.uint8)
    sheet[40:60, 30:190] = 0
    rng = np.random.default_rng(0)
    first, second = scanned(rng, sheet), scanned(rng, sheet)
    assert first.shape == sheet.shape
    assert not np.array_equal(first, second)
