"""Intervals of shares, against SciPy's."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from copydetect.intervals import wilson


@pytest.mark.parametrize(("right", "count"), [(95, 100), (0, 7), (7, 7), (1, 3), (970, 1000)])
def test_wilsons_interval_is_that_of_scipy(right: int, count: int) -> None:
    expected = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert wilson(right, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_nothing_counted_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
