"""Whitening and score normalisation against their formulas."""

import numpy as np
import pytest

from copydetect.description.normalization import (
    fit_discriminant,
    fit_whitening,
    normalize_vectors,
    unit_rows,
)
from copydetect.errors import OptionError


def random_units(seed, count, dimension):
    rng = np.random.default_rng(seed)
    return unit_rows(rng.normal(size=(count, dimension)).astype(np.float32))


def test_whitened_features_have_unit_covariance():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3).astype(np.float32)
    whitening = fit_whitening(features, 4)
    white = features @ whitening.matrix - whitening.offset
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(4), atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(whitening.apply(features), axis=1), 1, atol=1e-5)


def test_discriminant_ignores_what_edits_change():
    rng = np.random.default_rng(1)
    images = rng.normal(size=(400, 5)).astype(np.float32)
    edited = images.copy()
    edited[:, 2:] = rng.normal(size=(400, 3)) * 5  # edits replace three of five numbers
    projection = fit_discriminant(images, edited, 2, shrinkage=0.01)
    weights = np.abs(projection.matrix).sum(axis=1)
    assert weights[:2].min() > 5 * weights[2:].max()


def test_negatives_take_out_what_is_common_and_weigh_by_what_is_left():
    vectors, background = random_units(7, 4, 5), random_units(8, 30, 5)
    nearest = np.argsort(-(vectors @ background.T), axis=1)[:, :10]
    found, weights = normalize_vectors(vectors, background)
    left = vectors - 0.35 * background[nearest].mean(axis=1)
    np.testing.assert_allclose(found, unit_rows(left), atol=1e-6)
    np.testing.assert_allclose(weights, np.linalg.norm(left, axis=1) ** 2, rtol=1e-5)


def test_without_a_background_vectors_stay_as_they_are():
    vectors = random_units(12, 4, 5)
    found, weights = normalize_vectors(vectors, np.empty((0, 5), np.float32))
    np.testing.assert_array_equal(found, vectors)
    np.testing.assert_array_equal(weights, 1)


def test_a_background_that_is_too_small():
    with pytest.raises(OptionError, match="2 images"):
        normalize_vectors(random_units(9, 3, 5), random_units(10, 2, 5))


def test_no_vectors_are_no_trouble():
    empty = np.empty((0, 5), np.float32)
    found, weights = normalize_vectors(empty, random_units(11, 19, 5))
    assert (found.shape, weights.shape) == ((0, 5), (0,))


def test_too_few_features_to_whiten():
    with pytest.raises(OptionError, match="at most 2"):
        fit_whitening(np.ones((3, 8), np.float32), 4)


def test_a_vector_is_normalised_the_same_among_any_others() -> None:
    vectors, background = random_units(5, 300, 96), random_units(6, 700, 96)
    together, weights = normalize_vectors(vectors, background)
    for size in (1, 3, 13, 255):
        for start in range(0, 60, size):
            part = normalize_vectors(vectors[start : start + size], background)
            np.testing.assert_array_equal(part[0], together[start : start + size])
            np.testing.assert_array_equal(part[1], weights[start : start + size])
