"""Small collections of vectors that search tests share, and one flat index as their oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import numpy as np

from copydetect.index.building import IndexJob
from copydetect.index.partitions import IndexOptions, Partition, load_partition
from copydetect.index.routing import Part
from copydetect.search.neighbors import Neighbors, read_neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.searching import SearchJob
from copydetect.storage.files import LocalStorage
from tests.steps_in_turn import build_index, search_index


def unit_vectors(count: int, dimension: int = 32, seed: int = 0) -> np.ndarray:
    """Pairs of similar unit vectors, exact in float16."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, dimension))
    vectors[1::2] = vectors[: count - count % 2 : 2] + 0.4 * vectors[1::2]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16).astype(np.float32)


@dataclass(frozen=True)
class Collection:
    """Vectors with ids, in numbered parts."""

    vectors: np.ndarray
    ids: np.ndarray
    parts: int = 3

    def numbered(self) -> list[Part]:
        return [(number, f"{number}/{self.parts}") for number in range(self.parts)]

    def reader(self) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
        return _Reader(self.vectors, self.ids)


@dataclass(frozen=True)
class _Reader:
    vectors: np.ndarray
    ids: np.ndarray

    def __call__(self, uri: str) -> tuple[np.ndarray, np.ndarray]:
        number, parts = (int(word) for word in uri.split("/"))
        rows = np.array_split(np.arange(len(self.ids)), parts)[number]
        return self.vectors[rows], self.ids[rows]


def index_job(folder: Path, collection: Collection, **settings: object) -> IndexJob:
    """A job with the given `IndexOptions`."""
    options = IndexOptions(**settings)
    count = len(collection.ids)
    place = LocalStorage(), str(folder), collection.reader()
    return IndexJob(*place, count, options, "m1", parts=collection.parts)


def joined(
    folder: Path, collection: Collection, options: IndexOptions, search: SearchOptions
) -> Neighbors:
    """The neighbours of a collection in itself, through the sharded index."""
    build_index(replace(index_job(folder, collection), options=options), collection.numbered())
    return searched(folder, collection, search)


def search_job(folder: Path, queries: Collection, search: SearchOptions) -> SearchJob:
    """A search of the index at `folder`, in a folder of its own."""
    place = f"{folder}/search-{len(list(folder.glob('search-*')))}"
    storage, parts = LocalStorage(), queries.parts
    return SearchJob(storage, place, queries.reader(), str(folder), search, parts=parts)


def searched(
    folder: Path, queries: Collection, search: SearchOptions, rounds: int = 2
) -> Neighbors:
    """The neighbours of queries in the index at `folder`."""
    job = replace(search_job(folder, queries, search), rounds=rounds)
    found = [read_neighbors(LocalStorage(), uri) for uri in search_index(job, queries.numbered())]
    rows = np.lexsort((np.arange(sum(len(f.queries) for f in found)),))
    queries_, ids, scores = (
        np.concatenate([getattr(f, name) for f in found])[rows]
        for name in ("queries", "ids", "scores")
    )
    order = np.argsort(queries_, kind="stable")
    saturated = sum(f.saturated for f in found)
    return Neighbors(queries_[order], ids[order], scores[order], saturated)


def flat_neighbors(
    folder: Path, collection: Collection, queries: Collection, search: SearchOptions
) -> Neighbors:
    """The oracle: one flat inverted file of the same partition, every probed vector ranked."""
    partition = load_partition(LocalStorage(), f"{folder}/partition.npz")
    index = _flat_index(partition, collection)
    probes = partition.nearest_lists(queries.vectors, search.probes_in(partition))
    index.nprobe = probes.shape[1]
    count = len(collection.ids)
    distances = np.zeros(probes.shape, np.float32)
    vectors = partition.decode(queries.vectors)
    values, ids = index.search_preassigned(vectors, count, probes, distances)
    sign = 1 if index.metric_type == faiss.METRIC_INNER_PRODUCT else -1
    rows = []
    for query, found, value in zip(queries.ids, ids, sign * values, strict=True):
        pairs = [(-v, i) for i, v in zip(found, value, strict=True) if i >= 0]
        if search.exclude == "self":
            pairs = [(v, i) for v, i in pairs if i != query]
        if search.exclude == "image":
            pairs = [(v, i) for v, i in pairs if i >> 32 != query >> 32]
        pairs = sorted(pair for pair in pairs if -pair[0] >= search.min_score)[: search.k]
        rows += [(query, i, -v) for v, i in pairs]
    columns = list(zip(*sorted(rows, key=lambda row: row[0]), strict=True)) or [(), (), ()]
    return Neighbors(
        np.array(columns[0], np.int64), np.array(columns[1], np.int64), np.float32(columns[2])
    )


def _flat_index(partition: Partition, collection: Collection) -> faiss.IndexIVF:
    index = partition.new_index()
    lists = partition.nearest_lists(collection.vectors, 1)[:, 0]
    codes = partition.encode(collection.vectors)
    for number in range(partition.lists):
        rows = np.flatnonzero(lists == number)
        ids = np.ascontiguousarray(collection.ids[rows])
        held = np.ascontiguousarray(codes[rows])
        index.invlists.add_entries(number, len(rows), faiss.swig_ptr(ids), faiss.swig_ptr(held))
    index.ntotal = len(collection.ids)
    return index


def assert_same(one: Neighbors, other: Neighbors) -> None:
    """Same queries and ids; scores to the rounding of a sum."""
    np.testing.assert_array_equal(one.queries, other.queries)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
