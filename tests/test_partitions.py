"""The partition: its rule, its order, its codes, its file."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from copydetect.errors import IndexFileError, OptionError
from copydetect.index.partitions import (
    IndexOptions,
    Partition,
    lists_for,
    load_partition,
    save_partition,
    train_partition,
    training_size,
)
from copydetect.storage.files import LocalStorage
from tests.collections_for_search import unit_vectors


def partition(count: int = 2000, **settings: object) -> Partition:
    return train_partition(unit_vectors(count), count, IndexOptions(**settings), "m1")


def test_lists_follow_the_rule_and_can_be_set() -> None:
    options = IndexOptions()
    assert lists_for(5000, options) == 1
    assert lists_for(1_000_000, options) == 3906
    assert lists_for(10**9, options) == round(16 * 10**4.5)
    assert lists_for(1_000_000, IndexOptions(codes="PQ16", metric="l2")) == 2500
    assert lists_for(5000, IndexOptions(lists=70)) == 70
    assert lists_for(50, IndexOptions(lists=70)) == 50
    sizes = [lists_for(round(10**power), options) for power in np.arange(0, 10, 0.1)]
    assert sizes == sorted(sizes)
    assert training_size(100, options) == 100


@pytest.mark.parametrize("lists", [1, 40, 700])
def test_lists_are_about_equally_long_and_probes_begin_at_the_own_list(lists: int) -> None:
    trained = partition(6000, lists=lists)
    nearest = trained.nearest_lists(unit_vectors(6000), 4)
    assert lists <= trained.lists <= 1.2 * lists
    assert np.bincount(nearest[:, 0]).max() <= max(5 * 6000 / lists, 60)
    distances = ((unit_vectors(6000)[:50, None] - trained.centroids) ** 2).sum(axis=2)
    # Centroids and vectors are rounded to bytes, so that of two equally near either may be first.
    assert np.mean(nearest[:50, 0] == distances.argmin(axis=1)) > 0.9


def test_probes_are_tuned_to_the_wanted_recall() -> None:
    vectors = unit_vectors(3000)
    probes = []
    for recall in (0.5, 0.9, 1.0):
        trained = train_partition(vectors, 3000, IndexOptions(lists=90, recall=recall))
        similar = vectors[::10] @ vectors.T
        similar[np.arange(300), np.arange(0, 3000, 10)] = -1
        best = np.argsort(-similar, axis=1)[:, :10]
        own = trained.nearest_lists(vectors, 1)[:, 0][best]
        visited = trained.nearest_lists(vectors[::10], trained.probes)
        found = (own[:, :, None] == visited[:, None, :]).any(axis=2).mean()
        assert found > recall - 0.05
        probes.append(trained.probes)
    assert probes == sorted(probes)
    assert probes[0] < probes[-1] <= 90
    assert partition(lists=1).probes == 1
    assert partition(codes="PQ8", metric="l2", lists=20).probes == 4


def test_a_crowd_is_split_over_lists_unless_it_is_all_the_same() -> None:
    rng = np.random.default_rng(0)
    vectors = unit_vectors(2400)
    vectors[600:] = vectors[0] + 0.02 * rng.normal(size=(1800, 32))
    trained = train_partition(vectors, 2400, IndexOptions(lists=12))
    assert np.bincount(trained.nearest_lists(vectors, 1)[:, 0]).max() < 600
    vectors[600:] = vectors[0]
    trained = train_partition(vectors, 2400, IndexOptions(lists=12))
    assert np.bincount(trained.nearest_lists(vectors, 1)[:, 0]).max() >= 1800


def test_neighbouring_lists_have_near_numbers() -> None:
    crowds = np.repeat(unit_vectors(8, seed=4), 400, axis=0) + 0.3 * unit_vectors(3200, seed=5)
    centroids = train_partition(crowds, 3200, IndexOptions(lists=64)).centroids
    similar = centroids @ centroids.T
    near = np.mean([similar[i, i + 1] for i in range(63)])
    assert near > 0.8 > 0.5 > np.mean(similar)


def test_lists_do_not_depend_on_the_block_a_vector_comes_in() -> None:
    trained, vectors = partition(lists=60), unit_vectors(2000)
    whole = trained.nearest_lists(vectors, 5)
    for size in (1, 7, 1500):
        np.testing.assert_array_equal(
            trained.nearest_lists(vectors[100 : 100 + size], 5), whole[100 : 100 + size]
        )


@pytest.mark.parametrize(
    ("codes", "size"), [("Flat", 128), ("SQfp16", 64), ("SQ8", 32), ("PQ8", 8)]
)
def test_codes_have_their_size_and_reconstruct(codes: str, size: int) -> None:
    trained = partition(codes=codes, lists=8)
    vectors = unit_vectors(2000)[:100]
    coded = trained.encode(vectors)
    assert coded.shape == (100, size) == (100, trained.code_bytes)
    if codes.startswith("PQ"):
        np.testing.assert_array_equal(trained.encode(trained.decode(coded)), coded)


def test_codes_of_a_given_codebook_pass_through() -> None:
    codebook = np.random.default_rng(0).normal(size=(4, 256, 8)).astype(np.float32)
    codes = np.random.default_rng(1).integers(0, 256, (900, 4)).astype(np.uint8)
    options = IndexOptions(codes="PQ4", metric="l2", lists=9)
    trained = train_partition(codes, 900, options, "m1", codebook)
    expected = np.concatenate([codebook[part][codes[:, part]] for part in range(4)], axis=1)
    np.testing.assert_array_equal(trained.decode(codes), expected)
    np.testing.assert_array_equal(trained.encode(codes), codes)
    with pytest.raises(OptionError, match="codebook"):
        train_partition(codes, 900, options)


def test_a_partition_survives_its_file_and_pickling(tmp_path: Path) -> None:
    trained, uri = partition(lists=20), f"{tmp_path}/partition.npz"
    save_partition(LocalStorage(), uri, trained)
    vectors = unit_vectors(300)
    for copy in (load_partition(LocalStorage(), uri), pickle.loads(pickle.dumps(trained))):
        assert copy.identity == trained.identity
        np.testing.assert_array_equal(
            copy.nearest_lists(vectors, 3), trained.nearest_lists(vectors, 3)
        )


def test_training_is_deterministic() -> None:
    assert partition(lists=600).identity == partition(lists=600).identity


@pytest.mark.parametrize("content", [None, b"", b"not a partition", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_partition_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "partition.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(IndexFileError, match=r"partition\.npz"):
        load_partition(LocalStorage(), str(path))


@pytest.mark.parametrize(
    "settings",
    [{"codes": "HNSW32"}, {"metric": "cosine"}, {"lists": -1}, {"shards": -2}, {"threads": 0}],
)
def test_bad_options_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        IndexOptions(**settings)


def test_an_empty_collection_has_one_list() -> None:
    empty = train_partition(np.empty((0, 8), np.float32), 0, IndexOptions())
    assert (empty.lists, empty.dimension) == (1, 8)


def test_parts_that_do_not_divide_are_refused() -> None:
    with pytest.raises(OptionError, match="5 parts, which must divide its dimension, 32"):
        partition(codes="PQ5")


def test_few_vectors_are_enough_for_product_codes() -> None:
    few = train_partition(unit_vectors(7), 7, IndexOptions(codes="PQ8"))
    vectors = unit_vectors(7)
    np.testing.assert_allclose(few.decode(few.encode(vectors)), vectors, atol=1e-5)
