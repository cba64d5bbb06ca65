"""Shard files: planned evenly, finished or nothing, verified when opened, added to."""

from __future__ import annotations

import json
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from copydetect.errors import IndexFileError, InputError
from copydetect.index import shards
from copydetect.index.building import route_step, sample_step, train_step
from copydetect.index.shard_plans import plan_shards
from copydetect.index.shards import ShardReader, load_index
from copydetect.storage.files import LocalStorage
from tests.collections_for_search import Collection, index_job, unit_vectors
from tests.steps_in_turn import build_index

STORAGE = LocalStorage()


def collection(count: int = 600, parts: int = 3) -> Collection:
    return Collection(unit_vectors(count), np.arange(count), parts)


def built(folder: Path, vectors: Collection | None = None) -> ShardReader:
    vectors = vectors or collection()
    job = index_job(folder, vectors, lists=12, shards=3, probes=3)
    build_index(job, vectors.numbered())
    return ShardReader(STORAGE, str(folder))


def test_every_vector_is_stored_once_in_shards_of_about_equal_size(tmp_path: Path) -> None:
    reader = built(tmp_path)
    sizes = [shard.vectors for shard in reader.index.shards]
    assert sum(sizes) == 600
    assert len(sizes) == 3
    assert max(sizes) < 1.3 * min(sizes)
    assert [reader.shard(number).ntotal for number in range(3)] == sizes


def test_a_hot_list_is_cut_over_shards(tmp_path: Path) -> None:
    vectors = unit_vectors(600)
    vectors[40:540] = vectors[0]
    reader = built(tmp_path, Collection(vectors, np.arange(600), 3))
    sizes = [shard.vectors for shard in reader.index.shards]
    assert max(sizes) <= 300
    assert sum(sizes) == 600


def test_files_of_shards_hold_little_but_codes_and_ids(tmp_path: Path) -> None:
    index = built(tmp_path, collection(3000)).index
    assert index.bytes / index.vectors < (64 + 8) * 1.1


def test_an_interrupted_build_leaves_nothing_finished_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = index_job(tmp_path, collection(), lists=12, shards=3)
    storage = _FullDisk(shards_that_fit=2)
    with pytest.raises(OSError, match="No space left"):
        build_index(replace(job, storage=storage), collection().numbered())
    with pytest.raises(IndexFileError, match="holds no finished index"):
        load_index(STORAGE, str(tmp_path))
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob("shards/*.faiss")}
    assert len(first) == 2
    assert not list(tmp_path.rglob(".*"))

    index = build_index(job, collection().numbered())
    assert index.vectors == 600
    assert all(path.stat().st_mtime_ns == time for path, time in first.items())


class _FullDisk(LocalStorage):
    """Has room for so many shards."""

    def __init__(self, shards_that_fit: int) -> None:
        super().__init__()
        self._left = shards_that_fit

    def upload(self, local_path: str, uri: str) -> None:
        if not self._left:
            raise OSError(28, "No space left on device", uri)
        self._left -= 1
        super().upload(local_path, uri)


def test_truncated_missing_and_foreign_shards_are_named(tmp_path: Path) -> None:
    index = built(tmp_path).index
    path = tmp_path / index.shards[1].name
    whole = path.read_bytes()
    for content, text in (
        (whole[:-9], "truncated"),
        (whole[:500] + b"x" + whole[501:], "damaged or foreign"),
        (None, "missing"),
    ):
        path.write_bytes(content) if content else path.unlink()
        with pytest.raises(IndexFileError, match=text) as caught:
            ShardReader(STORAGE, str(tmp_path)).shard(1)
        assert index.shards[1].name in str(caught.value)
        ShardReader(STORAGE, str(tmp_path)).shard(0)


def test_an_index_of_another_partition_is_refused(tmp_path: Path) -> None:
    built(tmp_path / "a")
    built(tmp_path / "b", Collection(unit_vectors(600, seed=5), np.arange(600), 3))
    (tmp_path / "a/partition.npz").write_bytes((tmp_path / "b/partition.npz").read_bytes())
    with pytest.raises(IndexFileError, match="the index was made with"):
        ShardReader(STORAGE, str(tmp_path / "a"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", json.dumps({"shards": []}).encode()])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(IndexFileError, match=r"index\.json"):
        load_index(STORAGE, str(tmp_path))


def _changed(**rows: float) -> Collection:
    good = collection()
    vectors, ids = good.vectors.copy(), good.ids.copy()
    if "value" in rows:
        vectors[5, :] = rows["value"]
    if "twin" in rows:
        ids[5] = rows["twin"]
    return Collection(vectors, ids, 3)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (_changed(value=np.nan), "the vector of id 5 is not finite"),
        (_changed(value=np.inf), "the vector of id 5 is not finite"),
        (_changed(value=0.0), "the vector of id 5 is zero"),
        (_changed(twin=7), "id 7 occurs more than once"),
        (_changed(twin=500), "id 500 occurs in more than one part"),
    ],
)
def test_bad_vectors_are_named_and_nothing_is_finished(
    tmp_path: Path, bad: Collection, text: str
) -> None:
    job = index_job(tmp_path, bad, lists=12)
    # The sample may miss the bad row: routing sees every one.
    with pytest.raises(InputError, match=text):
        build_index(replace(job, vectors=600), bad.numbered())
    with pytest.raises(IndexFileError):
        load_index(STORAGE, str(tmp_path))


def test_another_dimension_is_refused_when_it_is_routed(tmp_path: Path) -> None:
    job = index_job(tmp_path, collection(), lists=12)
    partition = train_step(job, [sample_step(job, part) for part in collection().numbered()])
    other = index_job(tmp_path, Collection(unit_vectors(30, 16), np.arange(30), 1))
    with pytest.raises(InputError, match="dimension 16; the index has 32"):
        route_step(other, partition, (9, "0/1"))


def test_a_truncated_spill_is_named(tmp_path: Path) -> None:
    job = index_job(tmp_path, collection(), lists=12)
    partition = train_step(job, [sample_step(job, part) for part in collection().numbered()])
    uri = route_step(job, partition, (0, "0/3"))
    Path(uri).write_bytes(Path(uri).read_bytes()[:-1])
    with pytest.raises(IndexFileError, match=f"{uri} is truncated"):
        plan_shards(STORAGE, [uri], partition)


def test_threads_share_one_open_shard(tmp_path: Path) -> None:
    reader = built(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(reader.shard, [1] * 8))
    assert all(shard is opened[0] for shard in opened)


def test_only_the_shards_that_were_used_last_stay_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_MOST_OPEN", 2)
    reader = built(tmp_path)
    digests: list[str] = []
    plain = shards._record_of
    monkeypatch.setattr(shards, "_record_of", lambda path: digests.append(path) or plain(path))
    wanted = [reader.index.shards[number].vectors for number in (0, 1, 0, 2, 0, 1)]
    found = [weakref.ref(reader.shard(number)) for number in (0, 1, 0, 2)]
    assert [one() is not None for one in found] == [True, False, True, True]
    again = [reader.shard(number).ntotal for number in (0, 1, 0, 2, 0, 1)]
    assert (again, len(digests)) == (wanted, 3)
