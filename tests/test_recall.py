"""What the search loses, against brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from copydetect.index.partitions import IndexOptions, load_partition
from copydetect.search.neighbors import Neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.recall import Recall, exact_neighbors, recall_of, sample_queries
from copydetect.storage.files import LocalStorage
from tests.collections_for_search import Collection, joined, unit_vectors

SEARCH = SearchOptions(k=10, exclude="self")


def collection(parts: int) -> Collection:
    return Collection(unit_vectors(1500), np.arange(1500), parts)


@pytest.mark.parametrize("metric", ["inner_product", "l2"])
def test_exact_neighbours_are_those_of_brute_force(tmp_path: Path, metric: str) -> None:
    found = joined(tmp_path, collection(3), IndexOptions(lists=1, metric=metric), SEARCH)
    partition = load_partition(LocalStorage(), f"{tmp_path}/partition.npz")
    exact = {}
    for parts in (1, 6):
        read, numbered = collection(parts).reader(), collection(parts).numbered()
        queries = sample_queries(read, numbered, partition, 1500, 100)
        order = np.argsort(queries[1])
        queries = queries[0][order], queries[1][order]
        assert 60 < len(queries[1]) < 140
        exact[parts] = exact_neighbors(read, numbered, queries, partition, SEARCH)
    np.testing.assert_array_equal(exact[1].ids, exact[6].ids)
    rows = np.isin(found.queries, queries[1])
    np.testing.assert_array_equal(exact[1].ids, found.ids[rows])
    np.testing.assert_allclose(exact[1].scores, found.scores[rows], atol=2e-5)
    assert recall_of(found, exact[1]).value == 1


def test_recall_falls_with_the_lists_that_are_left_out(tmp_path: Path) -> None:
    read, numbered = collection(3).reader(), collection(3).numbered()
    values = []
    for probes in (1, 4, 30):
        options = IndexOptions(lists=30, probes=probes)
        found = joined(tmp_path / str(probes), collection(3), options, SEARCH)
        partition = load_partition(LocalStorage(), f"{tmp_path}/{probes}/partition.npz")
        queries = sample_queries(read, numbered, partition, 1500)
        exact = exact_neighbors(read, numbered, queries, partition, SEARCH)
        values.append(recall_of(found, exact).value)
    assert values == sorted(values)
    assert values[0] < 0.8
    assert values[-1] == 1


def test_features_do_not_count_their_own_image(tmp_path: Path) -> None:
    ids = np.arange(1500) // 20 << 32 | np.arange(1500)
    features = Collection(unit_vectors(1500), ids, 2)
    search = replace(SEARCH, exclude="image")
    found = joined(tmp_path, features, IndexOptions(lists=1), search)
    partition = load_partition(LocalStorage(), f"{tmp_path}/partition.npz")
    queries = features.vectors[:30], features.ids[:30]
    exact = exact_neighbors(features.reader(), features.numbered(), queries, partition, search)
    assert recall_of(found, exact).value == 1


def test_recall_by_hand_and_its_interval() -> None:
    def neighbours(rows: list[tuple[int, int]]) -> Neighbors:
        queries, ids = np.array(rows, np.int64).T
        return Neighbors(queries, ids, np.zeros(len(rows), np.float32))

    exact = neighbours([(1, 4), (1, 5), (7, 8), (7, 9)])
    found = neighbours([(1, 5), (1, 6), (3, 4), (7, 8), (7, 9)])
    recall = recall_of(found, exact)
    assert (recall.found, recall.wanted, recall.queries) == (3, 4, 2)
    low, high = recall.interval
    assert 0.3 < low < 0.75 < high < 0.96
    assert Recall(0, 0, 0, 10).value == 1
    assert str(recall).startswith("0.7500 (0.")


def test_where_nothing_was_asked_nothing_was_lost() -> None:
    nothing = Neighbors(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    recall = recall_of(nothing, nothing)
    assert (recall.value, recall.interval, recall.queries) == (1.0, (0.0, 1.0), 0)
