"""The local features of pictures, joined with themselves: the unit rates of their search."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from copydetect.description.keypoints import (
    STANDARD,
    extract,
    load_quantiser,
    quantise,
)
from copydetect.index.building import IndexJob
from copydetect.index.channels import query_ids
from copydetect.index.partitions import IndexOptions, load_partition
from copydetect.index.routing import Part
from copydetect.index.shards import load_index
from copydetect.options import EngineOptions
from copydetect.search.queries import SearchOptions
from copydetect.search.searching import SearchJob
from copydetect.storage.files import LocalStorage
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors
from copydetect.types import Ints, Pixels

from ..engine import Engine, engine_of

PART_IMAGES = 256

# As `dedup` searches them.
INDEX = IndexOptions(codes="PQ16", metric="l2", probes=4, training_per_list=20)
SEARCH = SearchOptions(k=9)

_STORAGE = LocalStorage()


@dataclass(frozen=True)
class FeatureFigures:
    """What the join of features measured, upright and mirrored; CPU seconds are of all threads."""

    images: int
    features: int
    dimension: int
    lists: int
    probes: int
    shards: int
    k: int
    index_cpu_seconds: float
    search_cpu_seconds: float
    bytes_per_feature: float


@dataclass(frozen=True)
class FeatureFiles:
    """Features in files of `PART_IMAGES` images; reads a part: codes, ids.

    both: as of `KeypointReader`.
    """

    folder: str
    images: int
    features: int
    both: bool = False

    def parts(self) -> list[tuple[int, str]]:
        """(number, path) of each part."""
        count = -(-self.images // PART_IMAGES)
        return [(number, f"{self.folder}/part-{number:05d}.npz") for number in range(count)]

    def __call__(self, path: str) -> tuple[npt.NDArray[Any], Ints]:
        with np.load(path) as part:
            codes, ids = part["codes"], part["ids"]
        return (np.tile(codes, (2, 1)), ids) if self.both else (codes, ids[: len(codes)])


def write_features(folder: str, pictures: Iterator[Pixels]) -> FeatureFiles:
    """Extract and write the features of pictures."""
    quantiser = load_quantiser()
    Path(folder).mkdir(parents=True, exist_ok=True)
    images = features = 0
    for number in range(1 << 30):
        found = [
            quantise(extract(pixels), quantiser, "", STANDARD)
            for pixels in islice(pictures, PART_IMAGES)
        ]
        if not found:
            break
        codes = np.concatenate([one.codes for one in found])
        ids = query_ids(range(images, images + len(found)), found)
        np.savez(f"{folder}/part-{number:05d}.npz", codes=codes, ids=ids)
        images, features = images + len(found), features + len(codes)
    return FeatureFiles(folder, images, features)


def join_features(work: str, files: FeatureFiles) -> dict[str, Any]:
    """Index features and search them, upright and mirrored; the fields of `FeatureFigures`."""
    engine: Engine = engine_of(EngineOptions())
    quantiser = load_quantiser()
    folder, parts = f"{work}/index", files.parts()
    job = IndexJob(
        storage=_STORAGE,
        folder=folder,
        read=files,
        vectors=files.features,
        options=INDEX,
        codebook=quantiser.centroids,
        self_probes=INDEX.probes,
    )
    started = time.process_time()
    engine.run("index", lambda p: p | beam.Create(parts) | DescriptorsToShards(job))
    indexed = time.process_time()
    asked = replace(files, both=True)
    search = SearchJob(_STORAGE, f"{work}/search", asked, folder, SEARCH, folder)
    engine.run("search", partial(_search, parts, search))
    index = load_index(_STORAGE, folder)
    partition = load_partition(_STORAGE, job.partition_uri)
    return {
        "images": files.images,
        "features": files.features,
        "dimension": quantiser.dimension,
        "lists": partition.lists,
        "probes": partition.probes,
        "shards": len(index.shards),
        "k": SEARCH.k,
        "index_cpu_seconds": indexed - started,
        "search_cpu_seconds": time.process_time() - indexed,
        "bytes_per_feature": index.bytes / files.features,
    }


def _search(parts: list[Part], job: SearchJob, pipeline: beam.Pipeline) -> None:
    _ = pipeline | beam.Create(parts) | ShardsToNeighbors(job)
