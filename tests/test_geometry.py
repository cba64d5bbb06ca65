"""Correspondences → transforms: planted ones are found among wrong matches, wild ones refused."""

from __future__ import annotations

import numpy as np
import pytest

from copydetect.homographies import inverse, project
from copydetect.verification import geometry
from copydetect.verification.correspondences import Correspondences, match_features
from copydetect.verification.geometry import align, align_regions, is_plausible, scale_of
from copydetect.verification.pair_images import PairImage, prepare
from tests.scenes import scene

SIMILARITY = np.array([[0.6, -0.4, 60], [0.4, 0.6, 5], [0, 0, 1.0]])
MIRRORED = SIMILARITY @ np.array([[-1, 0, 319], [0, 1, 0], [0, 0, 1.0]])


@pytest.fixture(scope="module")
def image() -> PairImage:
    return prepare("a", scene(2, 320, 240))


def planted(
    matrix: np.ndarray, right: int, wrong: int, mirrored: bool, seed: int = 0
) -> Correspondences:
    """`right` correspondences that follow a similarity to within a px, `wrong` of random ones."""
    rng = np.random.default_rng(seed)
    count = right + wrong
    query = rng.uniform([0, 0], [320, 240], (count, 2))
    reference = rng.uniform([0, 0], [320, 240], (count, 2))
    reference[:right] = project(matrix, query[:right]) + rng.normal(0, 0.4, (right, 2))
    linear = matrix[:2, :2] @ np.diag([-1 if mirrored else 1, 1])
    turn = rng.uniform(-np.pi, np.pi, count)
    turn[:right] = np.arctan2(linear[1, 0], linear[0, 0]) + rng.normal(0, 0.05, right)
    scale = rng.normal(0, 1, count)
    scale[:right] = 0.5 * np.log2(abs(np.linalg.det(linear))) + rng.normal(0, 0.1, right)
    columns = [np.asarray(part, np.float32) for part in (query, reference, scale, turn)]
    return Correspondences(*columns, mirrored)


@pytest.mark.parametrize(("matrix", "mirrored"), [(SIMILARITY, False), (MIRRORED, True)])
def test_eight_right_among_two_hundred_wrong(
    image: PairImage, matrix: np.ndarray, mirrored: bool
) -> None:
    found = align(planted(matrix, 8, 200, mirrored), image, image)
    assert found is not None
    assert found.mirrored == mirrored
    corners = np.array([[0.0, 0], [320, 0], [320, 240], [0, 240]])
    error = np.linalg.norm(project(found.matrix, corners) - project(matrix, corners), axis=1)
    assert error.max() < 8
    assert found.inliers >= 6


def test_what_far_fewer_agree_with_than_with_another_is_not_fitted(
    image: PairImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[np.ndarray] = []
    optimise = geometry._optimise
    monkeypatch.setattr(
        geometry, "_optimise", lambda start, points: fitted.append(start) or optimise(start, points)
    )
    assert align(planted(SIMILARITY, 60, 200, False), image, image) is not None
    assert len(fitted) == 1


def test_random_matches_have_few_inliers(image: PairImage) -> None:
    found = [align(planted(SIMILARITY, 0, 150, False, seed), image, image) for seed in range(5)]
    assert all(alignment is None or alignment.inliers < 8 for alignment in found)


def test_two_regions_of_a_collage(image: PairImage) -> None:
    other = np.array([[0.5, 0, 150], [0, 0.5, 100], [0, 0, 1.0]])
    first, second = planted(SIMILARITY, 40, 30, False), planted(other, 25, 0, False, 1)
    both = Correspondences(
        *(
            np.concatenate([getattr(first, name), getattr(second, name)])
            for name in ("query_px", "reference_px", "log2_scale", "turn_rad")
        ),
        False,
    )
    found = align_regions(both, image, image, max_regions=3)
    assert len(found) == 2
    assert found[0].inliers > found[1].inliers >= 15
    assert abs(found[1].matrix[0, 0] - 0.5) < 0.05


def test_points_in_one_place_count_once(image: PairImage) -> None:
    crowd = planted(SIMILARITY, 6, 0, False)
    repeated = Correspondences(
        *(
            np.repeat(getattr(crowd, name), 20, axis=0)
            for name in ("query_px", "reference_px", "log2_scale", "turn_rad")
        ),
        False,
    )
    found = align(repeated, image, image)
    assert found is not None
    assert found.inliers <= 6


@pytest.mark.parametrize(
    "matrix",
    [
        np.diag([30.0, 30, 1]),
        np.diag([1.0, 0.01, 1]),
        np.array([[1, 0.999, 0], [0.999, 1, 0], [0, 0, 1.0]]),
        np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]]),
        np.full((3, 3), np.nan),
    ],
)
def test_degenerate_transforms_are_refused(image: PairImage, matrix: np.ndarray) -> None:
    assert not is_plausible(matrix, image, image)


def test_points_that_are_all_one_place_are_no_transform(image: PairImage) -> None:
    place = np.tile(np.array([[100, 50]], np.float32), (7, 1))
    around = place + np.random.default_rng(1).normal(0, 0.5, (7, 2)).astype(np.float32)
    zeros = np.zeros(7, np.float32)
    assert align(Correspondences(place, around, zeros, zeros, False), image, image) is None


def test_orientation_is_checked(image: PairImage) -> None:
    assert is_plausible(MIRRORED, image, image, mirrored=True)
    assert not is_plausible(MIRRORED, image, image, mirrored=False)


def test_matching_an_image_with_itself_is_the_identity(image: PairImage) -> None:
    matches = match_features(image.features, image.features, mirrored=False)
    assert len(matches) > 50
    assert np.abs(matches.query_px - matches.reference_px).max() < 1e-3
    assert np.abs(matches.log2_scale).max() < 1e-3


def test_mirrored_descriptors_are_those_of_the_mirrored_image() -> None:
    picture = scene(4, 320, 240)
    plain = prepare("a", picture).features
    flipped = prepare("b", np.ascontiguousarray(picture[:, ::-1])).features
    matches = match_features(plain, flipped, mirrored=True)
    assert len(matches) > 0.7 * min(len(plain), len(flipped))
    mirrored_x = 319 - matches.query_px[:, 0]
    assert np.median(np.abs(mirrored_x - matches.reference_px[:, 0])) < 0.1


def test_inverse_and_scale(image: PairImage) -> None:
    points = np.array([[3.0, 4], [200, 100]])
    assert np.allclose(project(inverse(MIRRORED), project(MIRRORED, points)), points)
    assert np.isclose(scale_of(SIMILARITY, image), np.sqrt(0.52))
