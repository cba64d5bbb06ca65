"""One pair: planted copies are proven with their transform, others are not."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from copydetect.description.keypoints import extract, load_quantiser, quantise
from copydetect.errors import ImageError, OptionError
from copydetect.homographies import project
from copydetect.options import EffortName, RunOptions
from copydetect.settings import Settings
from copydetect.storage.files import LocalStorage
from copydetect.types import Candidate, Keypoints, Match, Pixels
from copydetect.verification import matches
from copydetect.verification.matches import MatchOptions, prepare_image, verify_pair
from tests.scenes import scene

CANDIDATE = Candidate("q", "r", 0.5, math.nan, math.nan, math.nan, 0.0, "whole", "whole", 1)


def verify(query: Pixels, reference: Pixels, options: MatchOptions | None = None) -> Match:
    return verify_pair(
        prepare_image("q", query, options),
        prepare_image("r", reference, options),
        CANDIDATE,
        None,
        options,
    )


def warp(pixels: Pixels, matrix: np.ndarray, size: tuple[int, int]) -> Pixels:
    return np.asarray(cv2.warpPerspective(pixels, matrix, size, flags=cv2.INTER_AREA), np.uint8)


TRANSFORMS = {
    "crop": np.array([[1.2, 0, -70], [0, 1.2, -40], [0, 0, 1]]),
    "mirrored": np.array([[-1.0, 0, 319], [0, 1, 0], [0, 0, 1]]),
    "turned": np.array([[0.7, -0.5, 120], [0.5, 0.7, -20], [0, 0, 1]]),
    "stretched": np.array([[0.9, 0, 0], [0, 1.2, -20], [0, 0, 1]]),
    "perspective": np.array([[1, 0.1, 0], [0.05, 1, 0], [4e-4, 2e-4, 1]]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_planted_transform_is_recovered(name: str) -> None:
    """To within 3 % of the diagonal, over the shared region."""
    picture = scene(3, 320, 240)
    matrix = TRANSFORMS[name]
    match = verify(picture, warp(picture, matrix, (320, 240)))
    assert match.is_copy
    found = np.array(match.transform).reshape(3, 3)
    region = np.array(match.query_region[0]).reshape(-1, 2)
    error = np.linalg.norm(project(found, region) - project(matrix, region), axis=1)
    assert error.max() < 0.03 * math.hypot(320, 240)
    assert ("mirrored" in match.edits) == (name == "mirrored")


@pytest.mark.parametrize("name", TRANSFORMS)
def test_without_its_history_a_copy_is_as_sure(name: str) -> None:
    picture = scene(3, 320, 240)
    copy = warp(picture, TRANSFORMS[name], (320, 240))
    told = verify(picture, copy)
    match = verify(picture, copy, MatchOptions(history=False))
    assert match.is_copy
    assert not match.edits
    shown = {name: getattr(told, name) for name in ("query_region", "reference_region")}
    assert replace(match, direction=told.direction, edits=told.edits, **shown) == told


@pytest.mark.parametrize("seed", range(6))
def test_other_scenes_are_no_copies(seed: int) -> None:
    match = verify(scene(seed, 320, 240), scene(seed + 100, 320, 240))
    assert not match.is_copy
    assert match.confidence < 0.5


def blurred_crop(picture: Pixels) -> Pixels:
    """Mirrored, and so soft that it has hardly any features."""
    soft = cv2.GaussianBlur(picture, (0, 0), 16)
    return np.ascontiguousarray(soft[20:220, 40:300][:, ::-1])


def test_blurred_mirrored_crop_without_features_is_proven_directly() -> None:
    picture = scene(5, 320, 240)
    match = verify(blurred_crop(picture), picture)
    assert match.is_copy
    assert "directly" in match.reason


@pytest.mark.parametrize(
    ("match_score", "crowded", "proven"),
    [
        (-6.5, False, True),
        (-5.0, False, True),
        (-4.0, False, False),
        (-4.0, True, True),
        (-math.inf, False, True),
    ],
)
def test_thumbnails_of_unlikely_pairs_are_not_laid_over_each_other(
    match_score: float, crowded: bool, proven: bool
) -> None:
    picture = scene(5, 320, 240)
    match = verify_pair(
        prepare_image("q", blurred_crop(picture)),
        prepare_image("r", picture),
        replace(CANDIDATE, score=-6.4, crowded=crowded),
        None,
        MatchOptions(match_score=match_score),
    )
    assert match.is_copy == proven


@pytest.mark.parametrize(("score", "matched"), [(5.0, True), (-3.0, False)])
def test_what_aligned_features_have_refuted_is_matched_in_full_only_where_the_score_speaks_for_it(
    score: float, matched: bool
) -> None:
    """The pictures share a border of 20 px, and the search's features agree on it."""
    picture, other = scene(13, 320, 240), scene(13, 320, 240)
    other[20:220, 20:300] = scene(40, 320, 240)[20:220, 20:300]
    places = np.random.default_rng(0).uniform(0, [320, 240], (400, 2))
    beside = np.minimum(places, [320, 240] - places).min(axis=1)
    places = places[beside < 20][:30] / 320
    query, reference = prepare_image("q", picture), prepare_image("r", other)
    candidate = replace(CANDIDATE, score=score)
    agreeing = np.column_stack([places, places]).astype(np.float32)
    options = MatchOptions(match_score=-4.0)
    assert not verify_pair(query, reference, candidate, agreeing, options).is_copy
    assert ("features" in query.__dict__) == matched


@pytest.mark.parametrize(("effort", "looks"), [("fast", False), ("standard", True)])
def test_full_size_is_looked_at_where_small_copies_leave_a_doubt(
    effort: EffortName, looks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []
    monkeypatch.setattr(matches, "look_closely", lambda best, proof, *pair: looked.append(proof))
    monkeypatch.setattr(matches, "joint_confidence", lambda *evidence: 0.1)
    settings = Settings.of(RunOptions(effort=effort), "dedup", LocalStorage())
    options = settings.verification.matching
    picture = scene(13, 320, 240)
    crop = prepare_image("q", warp(picture, TRANSFORMS["crop"], (320, 240)))
    unlikely = replace(CANDIDATE, score=-3.0)
    verify_pair(crop, prepare_image("r", picture), unlikely, None, options)
    assert looked == ([0.1] if looks else [])


def test_crop_is_the_copy_in_both_orders() -> None:
    picture = scene(9, 320, 240)
    crop = np.ascontiguousarray(picture[30:190, 60:260])
    assert verify(crop, picture).direction == "query_is_copy"
    assert verify(picture, crop).direction == "reference_is_copy"


def test_regions_and_transform_are_in_full_size_px() -> None:
    picture = scene(11, 900, 660)
    crop = np.ascontiguousarray(picture[100:560, 200:800])
    match = verify(crop, picture)
    found = np.array(match.transform).reshape(3, 3)
    assert np.abs(found - [[1, 0, 200], [0, 1, 100], [0, 0, 1]]).max() < 4
    region = np.array(match.reference_region).reshape(-1, 2)
    assert np.abs(region.min(axis=0) - [200, 100]).max() < 6
    assert np.abs(region.max(axis=0) - [799, 559]).max() < 6


def test_correspondences_of_the_search_are_enough() -> None:
    picture = scene(13, 320, 240)
    crop = np.ascontiguousarray(picture[40:200, 80:280])
    rng = np.random.default_rng(0)
    in_crop = rng.uniform(0.05, 0.75, (30, 2))
    in_whole = (in_crop * 200 + [80, 40]) / 320
    points = np.column_stack([in_crop, in_whole]).astype(np.float32)
    query, reference = prepare_image("q", crop), prepare_image("r", picture)
    match = verify_pair(query, reference, CANDIDATE, points)
    assert match.is_copy
    assert "features" not in query.__dict__, "they would be extracted for nothing"


@pytest.mark.parametrize("score", [-6.6, -6.4])
def test_unlikely_pairs_are_matched_in_full_only_where_the_search_speaks_for_them(
    score: float,
) -> None:
    picture = scene(13, 320, 240)
    turned = warp(picture, TRANSFORMS["turned"], (320, 240))
    query, reference = prepare_image("q", picture), prepare_image("r", turned)
    candidate = replace(CANDIDATE, score=score)
    nothing = np.zeros((0, 4), np.float32)
    match = verify_pair(query, reference, candidate, nothing, MatchOptions(match_score=-6.5))
    assert match.is_copy == (score > -6.5) == ("features" in query.__dict__)


@pytest.mark.parametrize("transform", ["turned", "mirrored"])
def test_unlikely_pairs_are_proven_by_the_features_that_the_search_compared(
    transform: str,
) -> None:
    picture = scene(13, 320, 240)
    unlikely = replace(CANDIDATE, score=-7.0)
    for other, proven in (
        (warp(picture, TRANSFORMS[transform], (320, 240)), True),
        (scene(22, 320, 240), False),
    ):
        query, reference = (
            prepare_image(name, pixels, keypoints=searched(pixels))
            for name, pixels in (("q", picture), ("r", other))
        )
        match = verify_pair(query, reference, unlikely, None)
        assert match.is_copy == proven
        assert "features" not in query.__dict__, "they would be extracted for nothing"


def searched(pixels: Pixels) -> Keypoints:
    return quantise(extract(pixels), load_quantiser(), "")


@pytest.mark.parametrize(
    "corners",
    [
        [[60, 20], [250, 60], [300, 200], [20, 220]],
        [[0, 0], [319, 70], [319, 170], [0, 239]],
        [[70, 40], [250, 40], [319, 239], [0, 239]],
    ],
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_picture_turned_in_space_is_proven_by_one_homography(
    corners: list[list[int]], mirrored: bool
) -> None:
    picture = scene(13, 320, 240)
    frame = np.array([[0, 0], [319, 0], [319, 239], [0, 239]], np.float32)
    there = cv2.getPerspectiveTransform(frame, np.array(corners, np.float32))
    shown = np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture
    match = verify(warp(shown, there, (320, 240)), picture)
    assert match.is_copy
    found = project(np.reshape(match.transform, (3, 3)), np.array(corners))
    original = frame[[1, 0, 3, 2]] if mirrored else frame
    assert np.abs(found - original).max() < 4


def test_identical_pixels_are_a_copy_and_one_colour_is_none() -> None:
    picture = scene(17, 200, 150)
    assert verify(picture, picture.copy()).confidence == 1
    grey = np.full((150, 200, 3), 90, np.uint8)
    assert not verify(grey, grey.copy()).is_copy


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2, 2), (7, 500)])
def test_tiny_images_are_decided_without_error(shape: tuple[int, int]) -> None:
    tiny = np.full((*shape, 3), 120, np.uint8)
    tiny[0, 0] = 255
    for pair in ((tiny, scene(1, 200, 150)), (scene(1, 200, 150), tiny), (tiny, 255 - tiny)):
        assert not verify(*pair).is_copy


@pytest.mark.parametrize("limit_msec", [1, 2000])
def test_a_pair_is_decided_by_what_is_known_when_its_time_is_over(
    limit_msec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(step=0.5)  # half a second passes whenever it is asked
    monkeypatch.setattr("copydetect.verification.matches.time.thread_time", lambda: next(clock))
    picture = scene(13, 320, 240)
    turned = warp(picture, TRANSFORMS["turned"], (320, 240))
    query, reference = prepare_image("q", picture), prepare_image("r", turned)
    nothing = np.zeros((0, 4), np.float32)
    verify_pair(query, reference, CANDIDATE, nothing, MatchOptions(limit_msec=limit_msec))
    assert ("features" in query.__dict__) == (limit_msec > 500)


def test_result_does_not_depend_on_what_was_verified_before() -> None:
    picture, other = scene(3, 320, 240), scene(21, 320, 240)
    copy = warp(picture, TRANSFORMS["turned"], (320, 240))
    shared = prepare_image("q", picture)
    first = verify_pair(shared, prepare_image("r", copy), CANDIDATE)
    verify_pair(shared, prepare_image("r", other), CANDIDATE)
    assert verify_pair(shared, prepare_image("r", copy), CANDIDATE) == first


def test_bad_arguments_are_named() -> None:
    with pytest.raises(OptionError, match="working_px"):
        MatchOptions(working_px=8)
    with pytest.raises(OptionError, match="min_confidence"):
        MatchOptions(min_confidence=1.5)
    with pytest.raises(ImageError, match="shape"):
        prepare_image("q", np.zeros((0, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("similarity", "votes", "matched"),
    [(0.3, 0.0, True), (0.1, 0.2, True), (0.1, 0.01, False), (math.nan, math.nan, True)],
)
def test_where_scores_mean_nothing_likeness_decides_what_is_matched_in_full(
    similarity: float, votes: float, matched: bool
) -> None:
    query, reference = (prepare_image(n, scene(k, 320, 240)) for n, k in (("q", 1), ("r", 2)))
    candidate = replace(CANDIDATE, score=9.0, similarity=similarity, votes=votes)
    verify_pair(query, reference, candidate, None, MatchOptions(scored=False))
    assert ("features" in query.__dict__) == matched
