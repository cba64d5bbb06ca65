"""Fast inner products are as wrong as they say, at most."""

from __future__ import annotations

import numpy as np
import pytest

from copydetect.search.products import Products


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_the_error_is_within_its_bound(scale: float) -> None:
    rng = np.random.default_rng(2)
    vectors = (rng.normal(size=(301, 37)) * scale).astype(np.float32)
    others = (rng.normal(size=(77, 37)) * rng.random((77, 1))).astype(np.float32)
    others[5] = vectors[11] / scale
    rows = rng.integers(0, 301, 2500)
    found, errors = Products(vectors).of(rows, others)
    exact = vectors[rows].astype(np.float64) @ others.T.astype(np.float64)
    assert found.shape == (2500, 77)
    assert found.dtype == errors.dtype == np.float32
    wrong = np.abs(found - exact).max(axis=1)
    assert (wrong <= errors).all()
    # A bound that says nothing would keep everything.
    sizes = np.linalg.norm(vectors, axis=1).max() * np.linalg.norm(others, axis=1).max()
    assert (errors <= 0.012 * max(sizes, 1)).all()


def test_nothing_times_anything() -> None:
    vectors = np.ones((3, 4), np.float32)
    found, errors = Products(vectors).of(np.array([0, 2]), np.empty((0, 4), np.float32))
    assert found.shape == (2, 0)
    assert (errors >= 0).all()
    found, errors = Products(vectors).of(np.empty(0, np.int64), vectors)
    assert found.shape == (0, 3)
    assert len(errors) == 0
