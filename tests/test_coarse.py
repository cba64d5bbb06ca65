"""The coarse quantiser: whole numbers find the centroids that float32 finds."""

from __future__ import annotations

import numpy as np
import pytest

from copydetect.index import coarse
from copydetect.index.coarse import CoarseQuantiser, largest
from tests.collections_for_search import unit_vectors


@pytest.fixture(params=[True, False], ids=["bytes", "float32"])
def bytes_are_native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to multiply, where the processor has both."""
    if request.param and not coarse.multiplies_int8():
        pytest.skip("this processor has no products of bytes")
    monkeypatch.setattr(coarse, "multiplies_int8", lambda: request.param)
    monkeypatch.setattr(coarse, "_LEAST_FOR_BYTES", 1)
    monkeypatch.setattr(coarse, "_FEW_VECTORS", 0)
    return bool(request.param)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 300.0])
@pytest.mark.parametrize("dimension", [3, 32, 2000])
def test_the_nearest_are_those_of_exact_distances_to_a_percent(
    bytes_are_native: bool, dimension: int, scale: float
) -> None:
    rng = np.random.default_rng(dimension)
    centroids = (scale * (0.5 + rng.normal(size=(70, dimension)))).astype(np.float32)
    vectors = (scale * (0.5 + rng.normal(size=(300, dimension)))).astype(np.float32)
    distances = np.linalg.norm(vectors[:, None] - centroids, axis=2)
    found = CoarseQuantiser(centroids).nearest(vectors, 5)
    best = np.sort(distances, axis=1)[:, :5]
    np.testing.assert_allclose(
        np.take_along_axis(distances, found, 1), best, rtol=0.02, atol=0.02 * distances.mean()
    )


def test_any_processor_block_and_thread_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coarse, "_LEAST_FOR_BYTES", 1)
    monkeypatch.setattr(coarse, "_FEW_VECTORS", 0)
    centroids, vectors = unit_vectors(700), unit_vectors(2000, seed=1)
    whole = CoarseQuantiser(centroids).nearest(vectors, 9)
    np.testing.assert_array_equal(CoarseQuantiser(centroids).nearest(vectors, 9, 3), whole)
    monkeypatch.setattr(coarse, "_BLOCK_SCORES", 1)
    np.testing.assert_array_equal(CoarseQuantiser(centroids).nearest(vectors, 9), whole)
    np.testing.assert_array_equal(
        CoarseQuantiser(centroids).nearest(vectors[77:80], 9), whole[77:80]
    )
    monkeypatch.setattr(coarse, "multiplies_int8", lambda: False)
    np.testing.assert_array_equal(CoarseQuantiser(centroids).nearest(vectors, 9), whole)


def test_few_centroids_equal_ones_and_no_vectors() -> None:
    one = CoarseQuantiser(np.zeros((1, 8), np.float32))
    np.testing.assert_array_equal(one.nearest(np.ones((2, 8), np.float32), 4), [[0], [0]])
    same = CoarseQuantiser(np.ones((40, 8), np.float32))
    np.testing.assert_array_equal(same.nearest(np.ones((1, 8), np.float32), 3), [[0, 1, 2]])
    assert same.nearest(np.empty((0, 8), np.float32), 3).shape == (0, 3)


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_the_largest_are_those_of_sorting(count: int) -> None:
    rng = np.random.default_rng(count)
    # Few different values, so that many are equal.
    scores = rng.integers(0, 60, (50, 300)).astype(np.float32)
    scores[3] = 1
    wanted = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(largest(scores.T, count), wanted)
    assert largest(scores[:0].T, count).shape == (0, count)


def test_for_the_features_of_a_picture_pytorch_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asked() -> bool:
        raise AssertionError("to ask PyTorch loads it")

    monkeypatch.setattr(coarse, "multiplies_int8", asked)
    found = CoarseQuantiser(unit_vectors(3000)).nearest(unit_vectors(340, seed=1), 4)
    assert found.shape == (340, 4)
