"""The Beam transforms against the direct composition of the same steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.testing.util import assert_that, equal_to

from copydetect.search.neighbors import read_neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.searching import SearchJob
from copydetect.storage.files import LocalStorage
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors
from copydetect.transforms.waiting import GatherThen
from tests.collections_for_search import Collection, assert_same, index_job, unit_vectors
from tests.steps_in_turn import build_index, search_index

SEARCH = SearchOptions(k=4, exclude="self", probes=3, task_queries=100)


def test_the_pipeline_equals_the_direct_composition(tmp_path: Path) -> None:
    vectors = Collection(unit_vectors(600), np.arange(600), 5)
    job = replace(index_job(tmp_path / "beam", vectors, lists=12, shards=3), self_probes=3)
    work = f"{tmp_path}/beam/search"
    search = SearchJob(job.storage, work, job.read, job.folder, SEARCH, routed=job.folder)
    expected = [
        (number, f"{work}/neighbors/part-{number:05d}.spill") for number, _ in vectors.numbered()
    ]
    with beam.Pipeline("FnApiRunner") as pipeline:
        parts = pipeline | beam.Create(vectors.numbered())
        index = parts | "Index" >> DescriptorsToShards(job)
        queries = index | "Queries" >> GatherThen(lambda _: vectors.numbered())
        found = queries | "Search" >> ShardsToNeighbors(search)
        assert_that(found | beam.Filter(lambda part: part is not None), equal_to(expected))

    direct = replace(job, folder=f"{tmp_path}/direct")
    built = build_index(direct, vectors.numbered())
    again = replace(search, folder=f"{direct.folder}/search", index_folder=direct.folder)
    uris = search_index(again, vectors.numbered())
    assert built.vectors == 600
    for (_, one), other in zip(expected, uris, strict=True):
        storage = LocalStorage()
        assert_same(read_neighbors(storage, one), read_neighbors(storage, other))
