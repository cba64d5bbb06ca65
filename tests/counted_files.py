"""How many files search and candidates exchange, beside what `benchmarks.file_counts` plans.

The steps work on made-up vectors and votes, all in this process, and the storage counts each file
of theirs that it reads or writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from copydetect import runs, tables
from copydetect.candidates.candidate_job import CandidateJob, Proposals
from copydetect.candidates.fusion import CandidateOptions
from copydetect.index.building import IndexJob
from copydetect.index.partitions import IndexOptions
from copydetect.index.routing import Part
from copydetect.parts import RoleParts, Sides
from copydetect.pipelines.benchmarks.file_counts import pair_files, search_files, vector_files
from copydetect.search.queries import SearchOptions
from copydetect.search.searching import SearchJob
from copydetect.search.vote_parts import write_votes
from copydetect.search.votes import Votes
from copydetect.storage.files import LocalStorage
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from copydetect.transforms.neighbors_to_candidates import NeighborsToCandidates
from copydetect.transforms.on_one_worker import InTurn
from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors
from copydetect.types import Floats, Ints

_DIMENSION = 8
_NEIGHBORS, _VOTED = 3, 2


@dataclass(frozen=True)
class FileCount:
    """How many files a step should read and write, and has."""

    step: str
    planned: int
    counted: int


class CountingStorage(LocalStorage):
    """Counts files that are read or written, by the step that exchanges them; others are left out.

    files: counts by step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.files: Counter[str] = Counter()

    def open(self, uri: str) -> Any:
        self._count(uri)
        return super().open(uri)

    def write(self, uri: str, data: bytes, settled: Callable[[], object] = lambda: None) -> None:
        self._count(uri)
        super().write(uri, data, settled)

    def upload(
        self, local_path: str, uri: str, settled: Callable[[], object] = lambda: None
    ) -> None:
        self._count(uri)
        super().upload(local_path, uri, settled)

    def _count(self, uri: str) -> None:
        if "/scratch/" in uri and ".spill" in uri:
            self.files["candidates"] += 1
        elif "/search/" in uri and "plan" not in uri.rsplit("/search/", 1)[1]:
            self.files["search"] += 1
        elif "/shards/" in uri or ("/vectors" in uri and "probes" not in uri):
            self.files["index"] += 1


@dataclass(frozen=True)
class MadeUp:
    """A collection in numbered parts whose images are random vectors of length 1, two and two
    alike; called with the number of a part, it gives its vectors, (n, d) float32, and their ids."""

    images: int
    parts: int

    @property
    def numbered(self) -> list[Part]:
        """The number of each part, also as a text."""
        return [(number, str(number)) for number in range(self.parts)]

    @property
    def counts(self) -> list[int]:
        """Images of each part."""
        return [len(self._rows(number)) for number in range(self.parts)]

    def __call__(self, part: str) -> tuple[Floats, Ints]:
        rows = self._rows(int(part))
        vectors = np.random.default_rng(int(part)).normal(size=(len(rows), _DIMENSION))
        vectors[1::2] = vectors[: len(rows) // 2 * 2 : 2] + 0.1 * vectors[1::2]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float16).astype(np.float32), rows.astype(np.int64) << 32

    def _rows(self, number: int) -> Ints:
        bounds = np.linspace(0, self.images, self.parts + 1).astype(np.int64)
        return np.arange(bounds[number], bounds[number + 1])


def counted(folder: str, images: MadeUp, shards: int, lists: int, rounds: int) -> list[FileCount]:
    """Index and search a collection for itself and merge what was found, in a folder.

    rounds: as of `SearchJob`.
    """
    storage = CountingStorage()
    options = IndexOptions(lists=lists, shards=shards, probes=lists)
    place = f"{folder}/index"
    index = IndexJob(storage, place, images, images.images, options, "made up", parts=images.parts)
    # Every query visits every shard, and no two groups of them are searched together.
    asked = SearchOptions(k=_NEIGHBORS, exclude="self", task_queries=1)
    search = SearchJob(
        storage, f"{folder}/search", images, place, asked, parts=images.parts, rounds=rounds
    )
    parts = InTurn(images.numbered)
    _ = parts | DescriptorsToShards(index)
    neighbors = [part[1] for part in (parts | ShardsToNeighbors(search)).elements if part]
    found = dict(storage.files)
    job = _candidate_job(storage, folder, images, neighbors)
    _ = InTurn(range(images.parts)) | NeighborsToCandidates(job)
    found["candidates"] = storage.files["candidates"]
    planned = {
        "index": vector_files(images.parts, lists, shards),
        "search": search_files(images.parts, shards, rounds),
        "candidates": pair_files(images.images, images.parts),
    }
    return [FileCount(step, count, found[step]) for step, count in planned.items()]


def _candidate_job(
    storage: CountingStorage, folder: str, images: MadeUp, neighbors: Sequence[str]
) -> CandidateJob:
    """The merging of what the search has found with made-up votes."""
    parts = range(images.parts)
    files = {
        name: [runs.join(folder, name, runs.part_name(part, "npz")) for part in parts]
        for name in ("images", "descriptors", "votes")
    }
    for number, part in images.numbered:
        vectors, ids = images(part)
        _write_described(storage, files, number, vectors, ids >> 32)
        write_votes(storage, files["votes"][number], _votes(ids >> 32, images.images))
    described = RoleParts(files["images"], images.counts, descriptors=files["descriptors"])
    proposals = Proposals(neighbors, files["votes"], Sides(described, described), ("whole",))
    return CandidateJob(
        storage,
        proposals,
        CandidateOptions(),
        folder=runs.join(folder, "candidates"),
        pairs_folder=runs.join(folder, "pairs"),
        scratch=runs.join(folder, "scratch"),
    )


def _write_described(
    storage: CountingStorage,
    files: dict[str, list[str]],
    number: int,
    vectors: Floats,
    images: Ints,
) -> None:
    names = pa.array([f"{image:09d}.jpg" for image in images.tolist()], pa.string())
    tables.write_table(storage, files["images"][number], pa.table({"image_id": names}))
    flat = pa.array(vectors.astype(np.float16).reshape(-1))
    columns = {
        "image_id": names,
        "view": ["whole"] * len(names),
        "vector": pa.FixedSizeListArray.from_arrays(flat, _DIMENSION),
        "weight": np.ones(len(names), np.float32),
        "model": ["made up"] * len(names),
    }
    table = pa.table(columns, schema=tables.descriptors(_DIMENSION))
    tables.write_table(storage, files["descriptors"][number], table)


def _votes(images: Ints, total: int) -> Votes:
    """Of each image for others, one hit each."""
    rng = np.random.default_rng(int(images[0]) if len(images) else 0)
    query = np.repeat(images, _VOTED)
    apart = rng.integers(1, max(total // _VOTED, 2), (len(images), _VOTED)).cumsum(axis=1)
    reference = (query + apart.reshape(-1)) % total
    votes = -np.sort(-rng.gamma(1.0, 0.05, (len(images), _VOTED)), axis=1).reshape(-1)
    count = len(query)
    return Votes(
        query,
        reference,
        votes.astype(np.float32),
        np.zeros(count, bool),
        np.ones(count, np.int32),
        np.arange(count + 1),
        rng.random((count, 4)).astype(np.float32),
    )
