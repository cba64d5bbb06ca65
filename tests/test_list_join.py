"""The search of a shard by matrix products, in what its blocks could get wrong."""

from __future__ import annotations

import numpy as np
import pytest

from copydetect.search import list_join
from copydetect.search.list_join import best_of


@pytest.mark.parametrize("together", [1, 500, 100_000])
def test_best_of_ranks_by_score_then_id_like_sorting(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_join, "_SORTED_TOGETHER", together)
    rng = np.random.default_rng(0)
    for levels in (2, 5, 1000):
        rows = rng.integers(0, 30, 4000)
        ids = rng.permutation(4000)
        scores = (rng.integers(-levels, levels, 4000) / 3).astype(np.float32)
        found = best_of((rows, ids, scores), 7)
        expected = []
        for row in range(30):
            mine = [(-scores[i], ids[i]) for i in np.flatnonzero(rows == row)]
            expected += [(row, number, -score) for score, number in sorted(mine)[:7]]
        assert list(zip(*(column.tolist() for column in found), strict=True)) == [
            (row, int(number), float(score)) for row, number, score in expected
        ]


def test_best_of_nothing_and_of_zeros_of_either_sign() -> None:
    nothing = np.empty(0, np.int64)
    assert [len(c) for c in best_of((nothing, nothing, np.empty(0, np.float32)), 3)] == [0, 0, 0]
    zeros = np.array([0.0, -0.0, 0.0], np.float32)
    assert best_of((np.zeros(3, np.int64), np.array([5, 3, 4]), zeros), 2)[1].tolist() == [3, 4]
