"""What `benchmark plan` says of files is what steps do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from copydetect.candidates import candidate_job
from copydetect.index import building, spills
from copydetect.index.partitions import IndexOptions
from copydetect.parts import part_count
from copydetect.pipelines.benchmarks import exchanges, plan
from copydetect.pipelines.benchmarks.exchanges import pair_files
from copydetect.search import search_plans, searching
from copydetect.search.queries import SearchOptions
from copydetect.storage.files import LocalStorage
from tests.collections_for_search import Collection, index_job, search_job, unit_vectors
from tests.steps_in_turn import (
    build_index,
    collect_candidates,
    find_densities,
    search_index,
    send_found,
)
from tests.test_merging import IMAGES, Found, job_of


class Counting(LocalStorage):
    """Names files that are read or written. wanted: tells of a URI whether it counts."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        super().__init__()
        self._wanted = wanted
        self.files: list[str] = []

    def _count(self, uri: str) -> None:
        if self._wanted(uri):
            self.files.append(uri)

    def open(self, uri: str) -> Any:
        self._count(uri)
        return super().open(uri)

    def write(self, uri: str, data: bytes, settled: Any = lambda: None) -> None:
        self._count(uri)
        super().write(uri, data, settled)

    def upload(self, local_path: str, uri: str, settled: Any = lambda: None) -> None:
        self._count(uri)
        super().upload(local_path, uri, settled)


def is_of_pairs(uri: str) -> bool:
    return ".spill" in uri and "/scratch/" in uri


def is_of_search(uri: str) -> bool:
    return "/search-0/" in uri and "plan" not in uri


def is_of_index(uri: str) -> bool:
    return "/shards/" in uri or ("/vectors" in uri and "probes" not in uri)


@pytest.mark.parametrize("many", [2, 3, 100])
def test_files_of_pairs_are_as_many_as_planned(
    many: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_LEAST_BLOCKS", 5), ("_LEAST_BLOCK_IMAGES", 1)):
        monkeypatch.setattr(candidate_job, name, value)
    monkeypatch.setattr(spills, "_MANY", many)
    for module in (candidate_job, exchanges):
        monkeypatch.setattr(module, "BUNDLED", 2)
    storage = Counting(is_of_pairs)
    job = replace(job_of(tmp_path, Found.random(), 6, True), storage=storage)
    send_found(job)
    sent = len(storage.files)
    scale = find_densities(job)
    parts = job.proposals.queries.parts
    # How crowded it is around images is found with what their own part has sent.
    assert len(storage.files) == sent + 2 * parts
    del storage.files[sent:]
    collect_candidates(job, scale)
    assert len(storage.files) == pair_files(IMAGES, parts)


def test_files_of_pairs_grow_with_the_parts() -> None:
    sizes = 10**7, 10**8
    one, other = (pair_files(images, part_count(images)) for images in sizes)
    assert other < 10**7
    assert one < 2 * 10**5


@pytest.mark.parametrize("bundled", [True, False])
@pytest.mark.parametrize("rounds", [1, 2])
def test_files_of_a_search_are_no_more_than_planned(
    bundled: bool, rounds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, shards, lists = 12, 8, 24
    monkeypatch.setattr(spills, "_MANY", 5 if bundled else 100)
    for module in (building, searching, search_plans, exchanges):
        monkeypatch.setattr(module, "BUNDLED", 4)
    for module in (building, exchanges):
        monkeypatch.setattr(module, "SECTION_LISTS", 8)
    storage = Counting(lambda uri: is_of_search(uri) or is_of_index(uri))
    vectors = unit_vectors(2400)
    many = Collection(vectors, np.arange(len(vectors)), parts)
    options = IndexOptions(lists=lists, shards=shards, probes=lists)
    job = replace(index_job(tmp_path, many), storage=storage, options=options)
    index = build_index(job, many.numbered())
    assert (len(index.shards), index.lists) == (shards, lists)
    # Every query visits every shard, and no two groups are searched together.
    asked = SearchOptions(k=3, task_queries=1)
    search = replace(search_job(tmp_path, many, asked), storage=storage, rounds=rounds)
    search_index(search, many.numbered())
    searched = Counter(map(is_of_search, storage.files))
    planned = exchanges.search_files(parts, shards, rounds)
    assert planned * 0.85 <= searched[True] <= planned
    planned = exchanges.vector_files(parts, lists, shards)
    assert planned * 0.85 <= searched[False] <= planned


def test_files_of_a_search_grow_with_the_parts() -> None:
    """Shards of 128 MB; a dedup of 10⁸ images is below 10⁷ files in all."""
    indexes = [
        exchanges.SearchedIndex("descriptors", 160_000, 388),
        replace(exchanges.FEATURES, lists=395_000, shards=3461),
    ]
    steps = {one.step: one.files for one in exchanges.exchanges(10**8, indexes)}
    assert sum(steps.values()) <= 10**7
    assert steps["search keypoints"] < 200 * part_count(10**8)


def test_the_plan_tells_the_steps_with_most_files_first() -> None:
    features = replace(exchanges.FEATURES, lists=10_000, shards=400)
    indexes = [exchanges.SearchedIndex("descriptors", 4096, 4), features]
    said = plan.files_text(10**6, indexes).splitlines()
    assert said[0].endswith("files are read or written, those of the input aside")
    shares = [int(line.split("%")[0]) for line in said[1:]]
    assert shares == sorted(shares, reverse=True)
    assert "search keypoints" in said[1]
