"""An index that grows and is compacted answers like one that was built at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest

from copydetect.errors import IndexFileError, InputError
from copydetect.index import building, maintenance
from copydetect.index.building import build_index
from copydetect.index.maintenance import compact_index, grow_index, list_sizes
from copydetect.index.partitions import imbalance
from copydetect.index.shards import Shard, ShardReader, build_shard, load_index
from copydetect.search.neighbors import Neighbors
from copydetect.search.queries import SearchOptions
from copydetect.storage.files import LocalStorage
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from tests.collections_for_search import (
    Collection,
    assert_same,
    flat_neighbors,
    index_job,
    searched,
    unit_vectors,
)

STORAGE = LocalStorage()
SELF = SearchOptions(k=5, exclude="self")


def grown(folder: Path, codes: str = "SQfp16") -> Collection:
    """An index of 600 vectors, and then of 300 more; returns all of them."""
    everything = Collection(unit_vectors(900), np.arange(900), 3)
    job = index_job(folder, everything, lists=12, shards=2, probes=4, codes=codes)
    build_index(job, everything.numbered()[:2])
    grow_index(job, everything.numbered()[2:])
    return everything


@pytest.mark.parametrize("codes", ["SQfp16", "PQ8"])
def test_a_grown_index_answers_as_one_flat_index(tmp_path: Path, codes: str) -> None:
    everything = grown(tmp_path, codes)
    index = ShardReader(STORAGE, str(tmp_path)).index
    assert (index.vectors, len(index.shards), index.generation) == (900, 4, 1)
    found = searched(tmp_path, everything, SELF)
    assert_same(found, flat_neighbors(tmp_path, everything, everything, SELF))


def test_a_pipeline_grows_an_index_as_a_loop_does(tmp_path: Path) -> None:
    everything = grown(tmp_path / "loop")
    job = index_job(tmp_path / "beam", everything, lists=12, shards=2, probes=4)
    build_index(job, everything.numbered()[:2])
    with beam.Pipeline("FnApiRunner") as pipeline:
        _ = pipeline | beam.Create(everything.numbered()[2:]) | DescriptorsToShards(job, True)
    loop, piped = (load_index(STORAGE, f"{tmp_path}/{name}") for name in ("loop", "beam"))
    assert piped.shards == loop.shards


def test_parts_of_one_vector_in_one_list_stay_apart(tmp_path: Path) -> None:
    everything = Collection(unit_vectors(900), np.arange(900), 900)
    job = index_job(tmp_path, everything, lists=1, shards=1)
    build_index(job, everything.numbered()[:50])
    for number in range(50, 54):
        index = grow_index(job, everything.numbered()[number : number + 1])
    assert index.vectors == 54


def test_adding_touches_no_old_shard(tmp_path: Path) -> None:
    everything = Collection(unit_vectors(900), np.arange(900), 3)
    job = index_job(tmp_path, everything, lists=12, shards=2)
    with pytest.raises(IndexFileError, match="holds no finished index"):
        grow_index(job, everything.numbered())
    before = build_index(job, everything.numbered()[:2])
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("shards/*.faiss")}
    after = grow_index(job, everything.numbered()[2:])
    assert after.shards[: len(before.shards)] == before.shards
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert grow_index(job, everything.numbered()[2:]) == after
    with pytest.raises(IndexFileError, match="made by model"):
        grow_index(replace(job, model="other"), everything.numbered()[2:])


def test_ids_that_may_be_there_already_are_not_added(tmp_path: Path) -> None:
    grown(tmp_path)
    again = Collection(unit_vectors(40, seed=2), np.arange(880, 920), 1)
    job = index_job(tmp_path, again, lists=12, shards=2)
    before = load_index(STORAGE, str(tmp_path))
    with pytest.raises(InputError, match="id 880 is added to an index of ids up to 899"):
        grow_index(job, [(7, "0/1")])
    assert load_index(STORAGE, str(tmp_path)) == before


def test_an_interrupted_addition_leaves_the_index_as_it_was_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = Collection(unit_vectors(900), np.arange(900), 3)
    job = index_job(tmp_path, everything, lists=12, shards=2, probes=4)
    before = build_index(job, everything.numbered()[:2])
    answers = searched(tmp_path, everything, SELF)

    def full(*arguments: Any) -> Shard:
        raise OSError("no space left on device")

    monkeypatch.setattr(maintenance, "build_shard", full)
    with pytest.raises(OSError, match="no space"):
        grow_index(job, everything.numbered()[2:])
    assert load_index(STORAGE, str(tmp_path)) == before
    assert_same(searched(tmp_path, everything, SELF), answers)
    monkeypatch.undo()
    assert grow_index(job, everything.numbered()[2:]).vectors == 900
    found = searched(tmp_path, everything, SELF)
    assert_same(found, flat_neighbors(tmp_path, everything, everything, SELF))


@pytest.mark.parametrize("codes", ["SQfp16", "PQ8", "Flat"])
def test_compacting_merges_shards_and_keeps_the_answers(tmp_path: Path, codes: str) -> None:
    everything = grown(tmp_path / "old", codes)
    before = searched(tmp_path / "old", everything, SELF)
    index = compact_index(STORAGE, str(tmp_path / "old"), str(tmp_path / "new"))
    assert (index.vectors, len(index.shards)) == (900, 2)
    after = searched(tmp_path / "new", everything, SELF)
    if codes != "PQ8":
        assert_same(after, before)
    # The vector that a product code stands for may be nearer to another list.
    assert _in_common(after, before) > 0.9


def test_an_interrupted_compaction_leaves_the_old_index_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = grown(tmp_path / "old")
    before = searched(tmp_path / "old", everything, SELF)
    written = []

    def until_the_second(*arguments: Any) -> Shard:
        if written:
            raise OSError("no space left on device")
        written.append(build_shard(*arguments))
        return written[0]

    monkeypatch.setattr(building, "build_shard", until_the_second)
    with pytest.raises(OSError, match="no space"):
        compact_index(STORAGE, str(tmp_path / "old"), str(tmp_path / "new"))
    with pytest.raises(IndexFileError, match="holds no finished index"):
        load_index(STORAGE, str(tmp_path / "new"))
    assert_same(searched(tmp_path / "old", everything, SELF), before)
    monkeypatch.undo()
    (done,) = tmp_path.glob("new/shards/*.faiss")
    time = done.stat().st_mtime_ns
    compact_index(STORAGE, str(tmp_path / "old"), str(tmp_path / "new"))
    assert done.stat().st_mtime_ns == time
    assert_same(searched(tmp_path / "new", everything, SELF), before)


def test_lists_that_drifted_are_trained_anew(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = unit_vectors(2400)
    crowd = vectors[0] + 0.2 * rng.normal(size=(1800, 32)) / np.sqrt(32)
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    vectors[600:] = crowd.astype(np.float16)
    everything = Collection(vectors, np.arange(2400), 4)
    job = index_job(tmp_path / "old", everything, lists=12, shards=2, probes=12)
    build_index(job, everything.numbered()[:1])
    grow_index(job, everything.numbered()[1:])
    old = ShardReader(STORAGE, str(tmp_path / "old"))
    index = compact_index(STORAGE, str(tmp_path / "old"), str(tmp_path / "new"))
    new = ShardReader(STORAGE, str(tmp_path / "new"))
    assert index.partition != old.index.partition
    assert imbalance(list_sizes(new)) < imbalance(list_sizes(old)) / 2
    before = searched(tmp_path / "old", everything, SELF)
    assert _in_common(searched(tmp_path / "new", everything, SELF), before) > 0.99


def _in_common(one: Neighbors, other: Neighbors) -> float:
    pairs = [found.queries << 32 | found.ids for found in (one, other)]
    return float(np.isin(*pairs).mean())


def test_imbalance_of_known_sizes() -> None:
    assert imbalance(np.array([5, 5, 5, 5])) == 1
    assert imbalance(np.array([20, 0, 0, 0])) == 4
    assert imbalance(np.array([0, 0])) == 1
