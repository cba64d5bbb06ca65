"""Percentiles are numpy's."""

from __future__ import annotations

import numpy as np
import pytest

from copydetect.verification.counting import percentiles_of


@pytest.mark.parametrize("count", [1, 2, 50, 4001])
def test_percentiles_are_those_of_numpy(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count).astype(np.float32)
    wanted = 0, 0.1, 50, 99.9, 100
    assert np.allclose(percentiles_of(values, *wanted), np.percentile(values, wanted), atol=1e-5)
