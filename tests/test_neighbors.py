"""Sharded search against one flat index, and what may not change its answer."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from copydetect.errors import InputError, OptionError
from copydetect.index import building, spills
from copydetect.index.partitions import IndexOptions
from copydetect.index.shards import load_index
from copydetect.search import search_plans, searching
from copydetect.search.neighbors import RESULT, merge_results
from copydetect.search.queries import SearchOptions
from copydetect.storage.files import LocalStorage
from tests.collections_for_search import (
    Collection,
    assert_same,
    flat_neighbors,
    index_job,
    joined,
    searched,
    unit_vectors,
)
from tests.steps_in_turn import build_index

OPTIONS = IndexOptions(lists=24, shards=3, probes=4)
SELF = SearchOptions(k=5, exclude="self")


def collection(count: int = 1200, parts: int = 3) -> Collection:
    return Collection(unit_vectors(count), np.arange(count) * 3 + 7, parts)


@pytest.mark.parametrize("metric", ["inner_product", "l2"])
@pytest.mark.parametrize("codes", ["SQfp16", "SQ8", "PQ8", "Flat"])
def test_shards_answer_as_one_flat_index(tmp_path: Path, codes: str, metric: str) -> None:
    options = replace(OPTIONS, codes=codes, metric=metric)
    found = joined(tmp_path, collection(), options, SELF)
    assert_same(found, flat_neighbors(tmp_path, collection(), collection(), SELF))
    assert not np.any(found.queries == found.ids)


@pytest.mark.parametrize(
    ("shards", "parts", "task_queries"), [(1, 1, 10_000), (7, 5, 100), (3, 2, 1), (30, 11, 999)]
)
def test_neither_shards_nor_parts_nor_tasks_change_the_answer(
    tmp_path: Path, shards: int, parts: int, task_queries: int
) -> None:
    expected = joined(tmp_path / "a", collection(), OPTIONS, SELF)
    other = replace(OPTIONS, shards=shards)
    search = replace(SELF, task_queries=task_queries, threads=2)
    assert_same(joined(tmp_path / "b", collection(parts=parts), other, search), expected)


def test_tasks_of_a_shard_have_about_as_many_queries() -> None:
    plan = search_plans.SearchPlan(77, np.full((1, 2, 77), 100), task_queries=2300)
    assert [stop - first for _, _, first, stop in plan.tasks] == [20, 19, 19, 19] * 2
    assert not search_plans.SearchPlan(2, np.zeros((1, 1, 2), np.int64), 2300).tasks


@pytest.mark.parametrize(
    ("shards", "parts", "task_queries"), [(7, 5, 100), (3, 6, 1), (9, 4, 9999)]
)
@pytest.mark.parametrize("rounds", [1, 2])
def test_neither_bundles_nor_rounds_change_the_answer(
    tmp_path: Path,
    shards: int,
    parts: int,
    task_queries: int,
    rounds: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search = replace(SELF, task_queries=task_queries)
    options = replace(OPTIONS, shards=shards)
    expected = joined(tmp_path, collection(parts=parts), options, search)
    assert not list(tmp_path.glob("search-0/*-bundles"))
    monkeypatch.setattr(spills, "_MANY", 2)
    monkeypatch.setattr(building, "SECTION_LISTS", 5)
    for module in (building, searching, search_plans):
        monkeypatch.setattr(module, "BUNDLED", 2)
    bundled = tmp_path / "bundled"
    many = collection(parts=parts)
    build_index(replace(index_job(bundled, many), options=options), many.numbered())
    found = searched(bundled, many, search, rounds)
    assert_same(found, expected)
    assert len(list(bundled.glob("search-0/*-bundles"))) == 1 + rounds


def test_order_of_input_does_not_change_the_answer(tmp_path: Path) -> None:
    ordered = collection()
    shuffle = np.random.default_rng(1).permutation(len(ordered.ids))
    shuffled = Collection(ordered.vectors[shuffle], ordered.ids[shuffle], 4)
    expected = joined(tmp_path / "a", ordered, OPTIONS, SELF)
    assert_same(joined(tmp_path / "b", shuffled, OPTIONS, SELF), expected)


def test_small_collections_are_searched_exactly(tmp_path: Path) -> None:
    found = joined(tmp_path, collection(500), IndexOptions(), SELF)
    vectors, ids = collection(500).vectors, collection(500).ids
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -1)
    best = np.sort(scores, axis=1)[:, -5:][:, ::-1]
    np.testing.assert_array_equal(found.queries, np.repeat(ids, 5))
    np.testing.assert_allclose(found.scores.reshape(-1, 5), best, atol=1e-6)


def test_queries_may_be_other_vectors_and_find_their_own(tmp_path: Path) -> None:
    joined(tmp_path, collection(), OPTIONS, SELF)
    queries = Collection(collection().vectors[100:300], np.arange(200), 2)
    search = SearchOptions(k=1)
    found = searched(tmp_path, queries, search)
    np.testing.assert_array_equal(found.ids, collection().ids[100:300])
    assert_same(found, flat_neighbors(tmp_path, collection(), queries, search))


def test_equal_scores_are_cut_by_id(tmp_path: Path) -> None:
    vectors = unit_vectors(400)
    vectors[50:350] = vectors[10]
    crowd = Collection(vectors, np.random.default_rng(2).permutation(400).astype(np.int64), 4)
    found = joined(tmp_path, crowd, OPTIONS, SELF)
    assert_same(found, flat_neighbors(tmp_path, crowd, crowd, SELF))
    lowest = np.sort(crowd.ids[np.r_[10, 50:350]])[:5]
    outside = found.ids[found.queries == np.sort(crowd.ids[np.r_[10, 50:350]])[20]]
    np.testing.assert_array_equal(outside, lowest)


def test_minimum_score_and_images_of_features(tmp_path: Path) -> None:
    features = Collection(unit_vectors(1200), np.arange(1200) // 50 << 32 | np.arange(1200), 3)
    search = SearchOptions(k=3, exclude="image", min_score=0.2)
    found = joined(tmp_path, features, OPTIONS, search)
    assert_same(found, flat_neighbors(tmp_path, features, features, search))
    assert np.all(found.scores >= 0.2)
    assert not np.any(found.queries >> 32 == found.ids >> 32)


def test_a_query_keeps_k_others_where_one_image_fills_the_front(tmp_path: Path) -> None:
    vectors = unit_vectors(600)
    vectors[:100] = vectors[0]
    features = Collection(vectors, (np.arange(600) // 100) << 32 | np.arange(600), 2)
    search = SearchOptions(k=4, exclude="image", probes=24)
    found = joined(tmp_path, features, OPTIONS, search)
    assert_same(found, flat_neighbors(tmp_path, features, features, search))
    assert np.all(np.unique(found.queries, return_counts=True)[1] == 4)


def test_a_crowd_of_copies_stays_connected(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    vectors = unit_vectors(900)
    near = vectors[0] + rng.normal(size=(500, 32)) * 0.01
    vectors[200:700] = near / np.linalg.norm(near, axis=1, keepdims=True)
    crowd = Collection(vectors, np.arange(900), 3)
    search = SearchOptions(k=3, exclude="self", connect_score=0.9, min_score=0.9)
    found = joined(tmp_path, crowd, OPTIONS, search)
    leader = np.arange(900)
    for _ in range(50):
        np.minimum.at(leader, found.queries, leader[found.ids])
        np.minimum.at(leader, found.ids, leader[found.queries])
    assert np.unique(leader[200:700]).size == 1
    assert found.saturated >= 500
    assert np.unique(found.queries, return_counts=True)[1].max() == 4


def test_ten_thousand_near_identical_vectors_are_bounded_work(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    vectors = unit_vectors(12_000, 16)
    near = vectors[0] + rng.normal(size=(10_000, 16)) * 0.002
    near[:5000] = vectors[0]  # half of them quite the same: one list that cannot be split
    vectors[2000:] = near / np.linalg.norm(near, axis=1, keepdims=True)
    crowd = Collection(vectors.astype(np.float16).astype(np.float32), np.arange(12_000), 4)
    search = SearchOptions(k=10, exclude="self", capped_score=0.8)
    options = IndexOptions(lists=40, probes=8, shard_bytes=1 << 16)
    found = joined(tmp_path, crowd, options, search)
    shards = load_index(LocalStorage(), str(tmp_path)).shards
    assert max(shard.vectors for shard in shards) < 4000
    assert np.unique(found.queries, return_counts=True)[1].max() == 10
    results = sum(file.stat().st_size for file in tmp_path.glob("search-0/results/*"))
    assert results < 12_000 * len(shards) * 10 * RESULT.itemsize
    assert 10_000 <= found.saturated < 10_500
    leader = np.arange(12_000)
    for _ in range(50):
        np.minimum.at(leader, found.queries, leader[found.ids])
        np.minimum.at(leader, found.ids, leader[found.queries])
    assert np.unique(leader[2000:], return_counts=True)[1].max() > 9990


def test_a_list_far_larger_than_a_shard_is_searched_in_pieces(tmp_path: Path) -> None:
    vectors = np.repeat(unit_vectors(1), 900, axis=0)
    vectors = np.concatenate([vectors, unit_vectors(100, seed=1)])
    hot = Collection(vectors, np.random.default_rng(5).permutation(1000).astype(np.int64), 3)
    found = joined(tmp_path, hot, OPTIONS, SELF)
    index = load_index(LocalStorage(), str(tmp_path))
    held = [(shard.first_list, shard.last_list) for shard in index.shards]
    assert any(one[1] == other[0] for one, other in pairwise(held))
    assert_same(found, flat_neighbors(tmp_path, hot, hot, SELF))


def test_probing_empty_lists_and_fewer_vectors_than_lists(tmp_path: Path) -> None:
    few = Collection(unit_vectors(7), np.arange(7), 3)
    found = joined(tmp_path / "few", few, replace(OPTIONS, lists=100), SELF)
    assert_same(found, flat_neighbors(tmp_path / "few", few, few, SELF))
    same = Collection(np.repeat(unit_vectors(2), 200, axis=0), np.arange(400), 2)
    found = joined(tmp_path / "same", same, OPTIONS, SELF)
    assert_same(found, flat_neighbors(tmp_path / "same", same, same, SELF))


def test_empty_parts_of_queries_give_empty_neighbours(tmp_path: Path) -> None:
    joined(tmp_path, collection(), OPTIONS, SELF)
    queries = Collection(collection().vectors[:2], np.arange(2), 4)
    assert len(searched(tmp_path, queries, SearchOptions(k=2)).ids) == 4


def test_merging_ranks_and_connects_over_shards() -> None:
    rows = [(1, 9, 0.9), (1, 8, 0.9), (1, 3, 0.8), (2, 5, 0.1), (1, 7, 0.7)]
    search = SearchOptions(k=2, connect_score=0.75, exclude="self")
    merged = merge_results(np.array(rows, dtype=RESULT), search)
    assert list(zip(merged.queries, merged.ids, strict=True)) == [(1, 8), (1, 9), (1, 3), (2, 5)]
    assert merged.saturated == 1
    assert len(merge_results(np.empty(0, RESULT), search).ids) == 0


def test_queries_of_another_dimension_are_refused(tmp_path: Path) -> None:
    joined(tmp_path, collection(), OPTIONS, SELF)
    with pytest.raises(InputError, match="dimension 16; the index has 32"):
        searched(tmp_path, Collection(unit_vectors(9, 16), np.arange(9), 1), SELF)


@pytest.mark.parametrize(
    "settings",
    [{"k": 0}, {"probes": -1}, {"exclude": "all"}, {"min_score": 0.5, "connect_score": 0.4}],
)
def test_bad_options_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        SearchOptions(**settings)
