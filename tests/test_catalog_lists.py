"""Lists that grow and lose entries give what one search of everything gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from copydetect.catalog.bank import BankIndex
from copydetect.catalog.drift import crowding, list_sizes
from copydetect.catalog.grown_index import copy_partition, grown_index, index_files, merged_index
from copydetect.catalog.lists import (
    joined_votes,
    living_neighbors,
    merged_neighbors,
    merged_votes,
    no_votes,
    shortened,
    turned_votes,
)
from copydetect.description.keypoints import load_quantiser
from copydetect.index.building import IndexJob
from copydetect.index.channels import IMAGE_SHIFT
from copydetect.index.partitions import IndexOptions
from copydetect.index.shards import load_index
from copydetect.search.neighbors import Neighbors, read_neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.searching import SearchJob
from copydetect.search.votes import Votes
from copydetect.storage.files import LocalStorage
from tests.steps_in_turn import build_index, search_index

STORAGE = LocalStorage()
OPTIONS = SearchOptions(k=6, exclude="image")


def _vectors(count: int) -> np.ndarray:
    vectors = np.random.default_rng(5).normal(size=(count, 8)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


VECTORS = _vectors(300)


def _read(uri: str) -> tuple[np.ndarray, np.ndarray]:
    first, last = map(int, uri.split("-"))
    return VECTORS[first:last], np.arange(first, last, dtype=np.int64) << IMAGE_SHIFT


def _found(folder: Path, name: str, index: str, uri: str) -> Neighbors:
    job = SearchJob(STORAGE, str(folder / name), _read, index, OPTIONS)
    return read_neighbors(STORAGE, search_index(job, [(0, uri)])[0])


def _build(folder: str, uri: str, count: int) -> None:
    build_index(
        IndexJob(STORAGE, folder, _read, count, IndexOptions(lists=4, probes=4)), [(0, uri)]
    )


def _scores(neighbors: Neighbors) -> dict[tuple[int, int], float]:
    ids = zip(neighbors.queries.tolist(), neighbors.ids.tolist(), strict=True)
    return dict(zip(ids, neighbors.scores.round(5).tolist(), strict=True))


def test_what_is_new_in_everything_and_everything_in_what_is_new_is_all_in_all(
    tmp_path: Path,
) -> None:
    first = str(tmp_path / "gen-000001/index/descriptors")
    second = str(tmp_path / "gen-000002/index/descriptors")
    _build(first, "0-200", 200)
    copy_partition(STORAGE, first, second)
    copy_partition(STORAGE, first, f"{second}/new")
    _build(f"{second}/new", "200-300", 100)
    grown_index(STORAGE, load_index(STORAGE, first), load_index(STORAGE, f"{second}/new"), second)
    old = _found(tmp_path, "old", first, "0-200")
    among = _found(tmp_path, "among", f"{second}/new", "0-200")
    new = _found(tmp_path, "new", second, "200-300")
    whole = str(tmp_path / "whole")
    _build(whole, "0-300", 300)
    everything = _found(tmp_path, "all", whole, "0-300")
    grown = _scores(merged_neighbors([old, among], OPTIONS)) | _scores(new)
    assert grown == pytest.approx(_scores(everything), abs=1e-4)


def test_shards_of_many_nights_become_few_and_give_the_same(tmp_path: Path) -> None:
    place = str(tmp_path / "gen-{:06d}/index/descriptors")
    _build(place.format(1), "0-200", 200)
    shards = []
    for night in range(2, 12):
        before, folder = place.format(night - 1), place.format(night)
        copy_partition(STORAGE, before, folder)
        copy_partition(STORAGE, before, f"{folder}/new")
        first = 200 + 10 * (night - 2)
        _build(f"{folder}/new", f"{first}-{first + 10}", 10)
        new = load_index(STORAGE, f"{folder}/new")
        grown_index(STORAGE, load_index(STORAGE, before), new, folder)
        shards.append(len(merged_index(STORAGE, folder).shards))
        made = {entry.path.split("/")[0] for entry in index_files(STORAGE, str(tmp_path), folder)}
        assert made >= {"gen-000001", f"gen-{night:06d}"}
    assert max(shards) <= 5
    _build(str(tmp_path / "whole"), "0-300", 300)
    grown = _found(tmp_path, "grown", place.format(11), "0-300")
    assert _scores(grown) == _scores(_found(tmp_path, "all", str(tmp_path / "whole"), "0-300"))


def test_another_pile_crowds_the_lists_that_were_trained_on_the_first(tmp_path: Path) -> None:
    first = str(tmp_path / "gen-000001/index/descriptors")
    _build(first, "0-200", 200)
    trained = list_sizes(STORAGE, first)
    assert trained.sum() == 200
    figures = {}
    for name, wanted in (("same", 100), ("other", 1)):
        folder = str(tmp_path / f"gen-{name}/index/descriptors")
        copy_partition(STORAGE, first, folder)
        copy_partition(STORAGE, first, f"{folder}/new")

        def read(uri: str, wanted: int = wanted) -> tuple[np.ndarray, np.ndarray]:
            rows = 200 + np.arange(100) % wanted
            return VECTORS[rows], np.arange(200, 300, dtype=np.int64) << IMAGE_SHIFT

        build_index(IndexJob(STORAGE, f"{folder}/new", read, 100, IndexOptions()), [(0, "new")])
        grown_index(
            STORAGE, load_index(STORAGE, first), load_index(STORAGE, f"{folder}/new"), folder
        )
        sizes = list_sizes(STORAGE, folder)
        assert sizes.sum() == 300
        figures[name] = crowding(sizes) / crowding(trained)
    assert figures["same"] < 1.1
    assert figures["other"] > 1.3
    assert crowding(np.array([3, 3, 3])) == 1.0
    assert crowding(np.zeros(3, np.int64)) == 1.0


def test_lists_that_lost_an_entry_are_told() -> None:
    queries = np.repeat(np.arange(4, dtype=np.int64), 6) << IMAGE_SHIFT
    ids = np.arange(24, dtype=np.int64) % 9 + 4 << IMAGE_SHIFT
    before = Neighbors(queries, ids, np.linspace(1, 0, 24, dtype=np.float32))
    living = np.ones(13, np.bool_)
    living[4] = False
    after = living_neighbors(before, living)
    holders = sorted(
        {
            int(q) >> IMAGE_SHIFT
            for q, i in zip(queries, ids, strict=True)
            if int(i) >> IMAGE_SHIFT == 4
        }
    )
    assert shortened(before, after, OPTIONS).tolist() == holders
    assert 4 not in (after.ids >> IMAGE_SHIFT)


def _votes(rows: list[tuple[int, int, float]]) -> Votes:
    query, reference, votes = (np.array(column) for column in zip(*rows, strict=True))
    points = np.arange(len(rows) * 8, dtype=np.float32).reshape(-1, 4)
    return Votes(
        query.astype(np.int64),
        reference.astype(np.int64),
        votes.astype(np.float32),
        np.zeros(len(rows), np.bool_),
        np.full(len(rows), 2, np.int32),
        np.arange(len(rows) + 1, dtype=np.int64) * 2,
        points,
    )


def test_votes_are_turned_round_with_their_points() -> None:
    votes = _votes([(10, 3, 0.5), (10, 11, 0.4), (11, 2, 0.3)])
    turned = turned_votes(votes, 0, 4)
    assert list(zip(turned.query, turned.reference, strict=True)) == [(3, 10), (2, 11)]
    assert turned.points[0].tolist() == [2, 3, 0, 1]
    assert turned.points[2].tolist() == votes.points[4][[2, 3, 0, 1]].tolist()


def test_the_best_votes_of_living_images_are_kept() -> None:
    old = _votes([(0, 1, 0.9), (0, 2, 0.8), (1, 0, 0.7)])
    new = _votes([(0, 3, 0.85), (0, 4, 0.1)])
    living = np.array([True, True, False, True, True])
    merged = merged_votes([old, new], living, 2)
    assert list(zip(merged.query, merged.reference, strict=True)) == [(0, 1), (0, 3), (1, 0)]
    assert merged.points[2].tolist() == new.points[0].tolist()
    assert merged.starts.tolist() == [0, 2, 4, 6]
    assert len(merged_votes([old], np.zeros(5, np.bool_), 2).query) == 0


def test_lists_that_nothing_was_added_to_stay_as_they_are() -> None:
    random = np.random.default_rng(6)
    references, votes = random.permutation(600).tolist(), random.random(600).round(1).tolist()
    rows = list(zip(random.integers(0, 40, 600).tolist(), references, votes, strict=True))
    ranked = sorted(rows, key=lambda row: (row[0], -np.float32(row[2]), row[1]))
    old = _votes([row for row in ranked if row[1] < 500])
    new = _votes([row for row in rows if row[1] >= 500 and row[0] < 20][::-1])
    living = np.ones(600, np.bool_)
    living[[3, 7, 520]] = False
    merged = merged_votes([old, new], living, 9)
    there = [(q, r) for q, r, _ in ranked if living[q] and living[r] and (r < 500 or q < 20)]
    before = [[q for q, _ in there[:row]].count(query) for row, (query, _) in enumerate(there)]
    expected = [pair for pair, rank in zip(there, before, strict=True) if rank < 9]
    assert list(zip(merged.query, merged.reference, strict=True)) == expected


def test_images_without_features_have_empty_lists() -> None:
    living = np.ones(5, np.bool_)
    assert not len(merged_votes([no_votes()], living, 2).query)
    assert merged_votes([_votes([(0, 1, 0.9)]), no_votes()], living, 2).query.tolist() == [0]
    assert joined_votes([no_votes(), _votes([(0, 1, 0.9)])]).starts.tolist() == [0, 2]


def test_a_picture_asks_a_bank_of_features_as_a_search_does(tmp_path: Path) -> None:
    """What FAISS adds up from tables is what the join of a run compares."""
    quantiser, rng = load_quantiser(), np.random.default_rng(3)
    codes = rng.integers(0, 256, (3000, quantiser.code_bytes)).astype(np.uint8)
    codes[1000:1040] = codes[:40]
    ids = np.arange(len(codes), dtype=np.int64) << IMAGE_SHIFT
    folder, options = str(tmp_path / "index"), SearchOptions(k=4, probes=3)

    def read(uri: str) -> tuple[np.ndarray, np.ndarray]:
        return codes, ids

    job = IndexJob(
        STORAGE,
        folder,
        read,
        len(codes),
        IndexOptions(codes="PQ16", metric="l2", lists=12, shards=3, probes=3),
        codebook=quantiser.centroids,
    )
    build_index(job, [(0, "all")])
    living = np.ones(len(codes), np.bool_)
    living[7] = False
    asked = np.concatenate([codes[:300], rng.permutation(codes)[:50]])
    found = BankIndex(STORAGE, folder, living).nearest(asked, np.arange(len(asked)), options)

    def read_asked(uri: str) -> tuple[np.ndarray, np.ndarray]:
        return asked, np.arange(len(asked), dtype=np.int64)

    search = SearchJob(STORAGE, str(tmp_path / "found"), read_asked, folder, options)
    wanted = read_neighbors(STORAGE, search_index(search, [(0, "all")])[0])
    assert not np.isin(7 << IMAGE_SHIFT, found.ids)
    whole = [
        ~np.isin(one.queries, wanted.queries[wanted.ids == 7 << IMAGE_SHIFT])
        for one in (found, wanted)
    ]
    assert found.queries[whole[0]].tolist() == wanted.queries[whole[1]].tolist()
    assert found.scores[whole[0]].tolist() == wanted.scores[whole[1]].tolist()
    # Of neighbours that are equally far either may be the last.
    assert np.mean(found.ids[whole[0]] == wanted.ids[whole[1]]) > 0.99
