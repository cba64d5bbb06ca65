"""Whitening and score normalisation against their formulas."""

import numpy as np
import pytest

from copydetect.description.normalization import (
    BackgroundOptions,
    background_biases,
    fit_discriminant,
    fit_whitening,
    normalize_vectors,
    unit_rows,
    with_constant,
    with_half_biases,
    with_query_biases,
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


def test_biases_are_the_mean_of_the_nearest_background():
    vectors, background = random_units(2, 7, 5), random_units(3, 50, 5)
    options = BackgroundOptions(beta=0.5, first_rank=2, last_rank=4)
    ranked = -np.sort(-(vectors @ background.T), axis=1)
    expected = 0.5 * ranked[:, 1:4].mean(axis=1)
    np.testing.assert_allclose(background_biases(vectors, background, options), expected, atol=1e-6)


def test_baked_inner_products_are_normalised_scores():
    queries, references = random_units(4, 6, 5), random_units(5, 9, 5)
    biases = np.linspace(0.1, 0.4, 6).astype(np.float32)
    baked = with_query_biases(queries, biases) @ with_constant(references).T
    np.testing.assert_allclose(baked, queries @ references.T - biases[:, None], atol=1e-6)


def test_baked_symmetric_scores():
    vectors, biases = random_units(6, 8, 5), np.linspace(-0.2, 0.6, 8).astype(np.float32)
    left, right = with_half_biases(vectors, biases)
    expected = vectors @ vectors.T - (biases[:, None] + biases[None]) / 2
    np.testing.assert_allclose(left @ right.T, expected, atol=1e-6)
    np.testing.assert_allclose(left @ right.T, (left @ right.T).T, atol=1e-6)


def test_negatives_and_stretching():
    vectors, background = random_units(7, 4, 5), random_units(8, 30, 5)
    similarities = vectors @ background.T
    nearest = np.argsort(-similarities, axis=1)[:, :3]
    negatives = normalize_vectors(vectors, background, BackgroundOptions("negatives", beta=0.35))
    expected = unit_rows(vectors - 0.35 * background[nearest].mean(axis=1))
    np.testing.assert_allclose(negatives, expected, atol=1e-6)
    stretched = normalize_vectors(vectors, background, BackgroundOptions("stretch"))
    lengths = 1 / np.take_along_axis(similarities, nearest, axis=1).mean(axis=1)
    np.testing.assert_allclose(np.linalg.norm(stretched, axis=1), lengths, rtol=1e-5)


def test_a_background_that_is_too_small():
    with pytest.raises(OptionError, match="2 images"):
        background_biases(random_units(9, 3, 5), random_units(10, 2, 5))


def test_no_vectors_are_no_trouble():
    empty = np.empty((0, 5), np.float32)
    assert background_biases(empty, random_units(11, 9, 5)).shape == (0,)


@pytest.mark.parametrize(
    "settings", [{"method": "x"}, {"beta": -1}, {"first_rank": 0}, {"first_rank": 4}]
)
def test_options_out_of_range(settings):
    with pytest.raises(OptionError):
        BackgroundOptions(**settings)


def test_too_few_features_to_whiten():
    with pytest.raises(OptionError, match="at most 2"):
        fit_whitening(np.ones((3, 8), np.float32), 4)


def test_a_bias_depends_on_nothing_but_its_vector() -> None:
    rng = np.random.default_rng(5)
    vectors = unit_rows(rng.normal(size=(300, 96)).astype(np.float32))
    background = unit_rows(rng.normal(size=(700, 96)).astype(np.float32))
    together = background_biases(vectors, background)
    for size in (1, 3, 13, 255):
        parts = [
            background_biases(vectors[start : start + size], background)
            for start in range(0, 60, size)
        ]
        np.testing.assert_array_equal(np.concatenate(parts)[:60], together[:60])
