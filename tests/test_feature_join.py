"""The search of local features: equal to brute force, in whatever pieces it is done."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import faiss
import numpy as np
import pytest

from copydetect.description.keypoints import load_quantiser, mirror_vectors, reconstruct
from copydetect.index.building import IndexJob
from copydetect.index.channels import MIRRORED, feature_ids
from copydetect.index.partitions import IndexOptions
from copydetect.index.shards import ShardReader
from copydetect.search import feature_join, list_join
from copydetect.search.feature_join import FeatureJoin
from copydetect.search.list_join import excluded
from copydetect.search.neighbors import Neighbors, read_neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.searching import SearchJob
from copydetect.search.vote_parts import hit_rows
from copydetect.search.votes import QueryFeatures, query_features, vote
from copydetect.storage.files import LocalStorage
from copydetect.types import Keypoints
from tests.collections_for_search import Collection
from tests.steps_in_turn import build_index, search_index

QUANTISER = load_quantiser()


def codes(count: int, seed: int = 0) -> np.ndarray:
    """(count, 16) codes: noisy repetitions of a third as many features, so that many are near."""
    random = np.random.default_rng(seed)
    kinds = random.integers(0, 256, (count // 3, 16), np.uint8)
    found = kinds[random.integers(0, len(kinds), count)]
    noise = random.random(found.shape) < 0.2
    found[noise] = random.integers(0, 256, int(noise.sum()), np.uint8)
    return found


def build(folder: Path, collection: Collection, options: IndexOptions) -> None:
    job = IndexJob(
        LocalStorage(), str(folder), collection.reader(), len(collection.ids), options,
        QUANTISER.identity, QUANTISER.centroids,
    )  # fmt: skip
    build_index(job, collection.numbered())


def search(folder: Path, queries: Collection, options: SearchOptions) -> Neighbors:
    place = f"{folder}/search-{len(list(folder.glob('search-*')))}"
    job = SearchJob(LocalStorage(), place, queries.reader(), str(folder), options)
    found = [read_neighbors(LocalStorage(), uri) for uri in search_index(job, queries.numbered())]
    columns = [
        np.concatenate([getattr(f, name) for f in found]) for name in ("queries", "ids", "scores")
    ]
    order = np.argsort(columns[0], kind="stable")
    return Neighbors(*(column[order] for column in columns))


def brute_force(
    collection: Collection, vectors: np.ndarray, queries: np.ndarray, k: int, exclude: str
) -> tuple[np.ndarray, np.ndarray]:
    """ids and scores (n, k), compared in double precision, ties by id."""
    held = reconstruct(collection.vectors, QUANTISER).astype(np.float64)
    scores = -((vectors[:, None].astype(np.float64) - held) ** 2).sum(axis=2)
    if exclude == "image":
        scores[queries[:, None] >> 32 == collection.ids >> 32] = -np.inf
    ids = np.broadcast_to(collection.ids, scores.shape)
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)


def features(count: int, seed: int = 0, parts: int = 3) -> Collection:
    ids = np.arange(count) // 20 << 32 | np.random.default_rng(seed).permutation(count)
    return Collection(codes(count, seed), ids, parts)


@pytest.mark.parametrize("exclude", ["none", "image"])
def test_all_lists_together_equal_brute_force(tmp_path: Path, exclude: str) -> None:
    held = features(900)
    build(tmp_path, held, IndexOptions(codes="PQ16", metric="l2", lists=12, shards=3, probes=12))
    found = search(tmp_path, held, SearchOptions(k=5, exclude=exclude))
    ids, scores = brute_force(held, reconstruct(held.vectors, QUANTISER), held.ids, 5, exclude)
    order = np.argsort(held.ids)
    np.testing.assert_array_equal(found.ids.reshape(-1, 5), ids[order])
    # Not about equal: the grid of the codebook makes every sum exact.
    np.testing.assert_array_equal(found.scores.reshape(-1, 5), scores[order])


@pytest.mark.parametrize("exclude", ["none", "self", "image"])
def test_what_a_query_may_not_find_is_told_by_the_order_of_ids(exclude: str) -> None:
    random = np.random.default_rng(2)
    ids = np.unique(random.integers(0, 9, 200) << 32 | random.integers(0, 40, 200))
    queries = np.concatenate([random.permutation(ids)[:30], [0, 20 << 32]])
    options = SearchOptions(exclude=exclude)
    nothing = np.zeros((len(queries), 16), np.float32)
    join = FeatureJoin(SimpleNamespace(invlists=None), queries, nothing, np.zeros((0, 1)), options)
    rows = random.permutation(len(queries))
    found = np.zeros((len(rows), len(ids)), bool)
    found[join._excluded(rows, ids)] = True
    np.testing.assert_array_equal(found, excluded(queries[rows, None], ids, options))


@pytest.mark.parametrize("columns", [6, 39, 40, 41, 79, 80, 81, 1650])
def test_the_first_floor_loses_none_of_the_best_and_keeps_few_others(columns: int) -> None:
    scores = np.random.default_rng(columns).random((50, columns), np.float32)
    floors = feature_join._at_most_kth(scores, 5)
    above = (scores >= floors[:, None]).sum(axis=1)
    assert above.min() == 5
    assert above.mean() < 6


def test_features_of_mirror_images_are_turned(tmp_path: Path) -> None:
    held = features(900)
    build(tmp_path, held, IndexOptions(codes="PQ16", metric="l2", lists=12, shards=3, probes=4))
    turned = mirror_vectors(reconstruct(held.vectors, QUANTISER), QUANTISER)
    apart = [search(tmp_path, held, SearchOptions(k=5))]
    apart.append(search(tmp_path, Collection(turned, held.ids, 2), SearchOptions(k=5)))
    both = Collection(np.tile(held.vectors, (2, 1)), np.r_[held.ids, held.ids | MIRRORED], 3)
    together = search(tmp_path, both, SearchOptions(k=5))
    for name in ("ids", "scores"):
        expected = np.concatenate([getattr(one, name) for one in apart])
        np.testing.assert_array_equal(getattr(together, name), expected)


@pytest.mark.parametrize(("shards", "parts", "task_queries"), [(1, 1, 10_000), (7, 5, 50)])
def test_no_division_of_the_work_changes_the_answer(
    tmp_path: Path, shards: int, parts: int, task_queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = IndexOptions(codes="PQ16", metric="l2", lists=30, shards=3, probes=4)
    build(tmp_path / "a", features(1500), options)
    expected = search(tmp_path / "a", features(1500), SearchOptions(k=6))
    monkeypatch.setattr(list_join, "_LIST_BLOCK", 7)
    monkeypatch.setattr(feature_join, "_BLOCK_SCORES", 40)
    other = IndexOptions(codes="PQ16", metric="l2", lists=30, shards=shards, probes=4)
    build(tmp_path / "b", features(1500, parts=parts), other)
    searching = SearchOptions(k=6, task_queries=task_queries)
    found = search(tmp_path / "b", features(1500, parts=parts), searching)
    for name in ("queries", "ids", "scores"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_features_that_all_are_equal_are_cut_by_id(tmp_path: Path) -> None:
    equal = Collection(np.repeat(codes(3)[:1], 3000, axis=0), np.arange(3000)[::-1].copy(), 2)
    build(tmp_path, equal, IndexOptions(codes="PQ16", metric="l2", lists=5, probes=3))
    found = search(tmp_path, equal, SearchOptions(k=4))
    np.testing.assert_array_equal(found.ids.reshape(-1, 4), np.tile(np.arange(4), (3000, 1)))
    assert (found.scores == 0).all()


def test_only_a_codebook_on_the_grid_is_exact(tmp_path: Path) -> None:
    options = IndexOptions(codes="PQ16", metric="l2", lists=4, probes=2)
    build(tmp_path, features(300), options)
    held = ShardReader(LocalStorage(), str(tmp_path)).shard(0)
    assert feature_join.is_exact(held)
    other = faiss.vector_to_array(held.pq.centroids)
    faiss.copy_array_to_vector(other * np.float32(1.001), held.pq.centroids)
    assert not feature_join.is_exact(held)
    assert not feature_join.is_exact(faiss.IndexIVFFlat(faiss.IndexFlatL2(4), 4, 2))


def test_a_logo_on_every_picture_neither_floods_nor_hides_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 pictures of 40 features, half of them the same logo; the last is a copy of the first."""
    random = np.random.default_rng(5)
    own = random.integers(0, 256, (400, 20, 16), np.uint8)
    own[-1] = own[0]
    logo = np.broadcast_to(random.integers(0, 256, (20, 16), np.uint8), own.shape).copy()
    noise = random.random(logo.shape) < 0.05
    logo[noise] = random.integers(0, 256, int(noise.sum()), np.uint8)
    places = random.integers(40, 216, (400, 40, 4)).astype(np.uint8)
    places[:, 20:] = places[0, 20:]
    places[-1] = places[0]
    pictures = [
        Keypoints(str(i), 256, 256, *places[i].T, np.concatenate([own[i], logo[i]]), "")
        for i in range(400)
    ]
    ids = np.concatenate([feature_ids(i, one) for i, one in enumerate(pictures)])
    held = Collection(np.concatenate([one.codes for one in pictures]), ids, 1)
    monkeypatch.setattr(feature_join, "_LONGEST_LIST", 100)
    build(tmp_path, held, IndexOptions(codes="PQ16", metric="l2", lists=100, probes=6))
    found = search(tmp_path, held, SearchOptions(k=9))
    assert np.unique(found.queries, return_counts=True)[1].max() == 9
    asked, _ = query_features(range(400), pictures, QUANTISER)
    upright = QueryFeatures(*(getattr(asked, f)[: len(ids)] for f in QueryFeatures.__annotations__))
    rows, distances = hit_rows(found, ids, 9)
    votes = vote(upright, rows, distances, exclude_self=True)
    copies = (votes.query % 399 == 0) & (votes.reference % 399 == 0)
    assert copies.sum() == 2
    assert votes.votes[copies].min() > 2 * votes.votes[~copies].max()


@pytest.mark.parametrize("lists", [1, 3, 20])
def test_the_lists_that_routing_found_serve_the_search_of_the_same_features(
    tmp_path: Path, lists: int
) -> None:
    held = features(700)
    options = IndexOptions(codes="PQ16", metric="l2", lists=lists, probes=4)
    storage, folder = LocalStorage(), str(tmp_path)
    job = IndexJob(
        storage, folder, held.reader(), 700, options, "m", QUANTISER.centroids, self_probes=4
    )
    build_index(job, held.numbered())
    found = []
    for known in (folder, ""):
        searching = SearchJob(
            storage, f"{folder}/{bool(known)}", held.reader(), folder, SearchOptions(k=3), known
        )
        uris = search_index(searching, held.numbered())
        found.append(np.concatenate([read_neighbors(storage, uri).ids for uri in uris]))
    np.testing.assert_array_equal(found[0], found[1])
    assert len(found[0]) == 2100
