"""The steps in which an index is built; `DescriptorsToShards` spreads them over workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from loky import cpu_count

from copydetect.index.partitions import (
    IndexOptions,
    Partition,
    load_partition,
    save_partition,
    train_partition,
    training_size,
)
from copydetect.index.routing import (
    Part,
    Read,
    read_sample,
    route_part,
    spill_uri,
    write_sample,
)
from copydetect.index.shard_plans import bundle_notes
from copydetect.index.shards import PARTITION
from copydetect.index.spills import BUNDLED, is_bundled, merge_spills
from copydetect.storage.files import Storage
from copydetect.types import Floats
from copydetect.workers.threads import limit_threads

_LARGE_SAMPLE = 1 << 20
SECTION_LISTS = 1 << 16
"""Lists whose vectors are merged together, where there are many parts."""


@dataclass(frozen=True)
class IndexJob:
    """The build of one index: its input, its options and its folder.

    folder: of the index; read: reads a part; vectors: how many there are, about, or a function that
    counts them once they are there: the number of lists comes from it; model: identity of what made
    the vectors; codebook: (m, 256, d / m) float32 where the vectors are codes; self_probes: lists
    that the search of the collection for itself will visit, 0 where there will be none or where its
    queries are other vectors; parts: where there may be many.
    """

    storage: Storage
    folder: str
    read: Read
    vectors: int | Callable[[], int]
    options: IndexOptions
    model: str = ""
    codebook: Floats | None = None
    self_probes: int = 0
    parts: int = 0

    @property
    def bundled(self) -> bool:
        """Whether there are so many parts that their spills are merged: each shard reads all."""
        return is_bundled(self.parts)

    @property
    def sample_share(self) -> float:
        """The share of vectors that the partition is trained on."""
        count = self.count
        return min(1.0, training_size(count, self.options) / max(count, 1))

    @property
    def count(self) -> int:
        """How many vectors there are, about."""
        return self.vectors() if callable(self.vectors) else self.vectors

    @property
    def partition_uri(self) -> str:
        """Where the partition is, once it is trained."""
        return f"{self.folder}/{PARTITION}"


def sample_step(job: IndexJob, part: Part) -> str:
    """Sample one part for training."""
    return write_sample(job.storage, job.folder, job.read, part, job.sample_share)


def train_step(job: IndexJob, samples: Sequence[str]) -> Partition:
    """Train the partition on all samples and write it, or load it where that is done."""
    if not job.storage.is_whole(job.partition_uri):
        sample = read_sample(job.storage, sorted(samples))
        # All else waits for this one worker, so it takes the whole machine: also for k-means, which
        # may round otherwise in several threads, where that pays.
        large = len(sample) > _LARGE_SAMPLE
        limit_threads(cpu_count() if large else job.options.threads)
        partition = train_partition(
            sample, job.count, job.options, job.model, job.codebook, cpu_count()
        )
        save_partition(job.storage, job.partition_uri, partition)
        limit_threads(job.options.threads)
    return load_partition(job.storage, job.partition_uri)


def route_step(job: IndexJob, partition: Partition, part: Part) -> str:
    """Route one part into the index."""
    limit_threads(job.options.threads)
    probes = max(1, min(job.self_probes, partition.lists))
    return route_part(job.storage, job.folder, job.read, part, partition, probes)


def vector_bundles(job: IndexJob, partition: Partition) -> list[tuple[int, int]]:
    """The bundles of routed vectors: groups of parts, and sections of lists."""
    return list(np.ndindex(-(-job.parts // BUNDLED), -(-partition.lists // SECTION_LISTS)))


def bundle_vectors(job: IndexJob, bundle: tuple[int, int]) -> str:
    """Merge what the parts of a group have for a section of lists; returns the spill's URI."""
    group, section = bundle
    uri = f"{job.folder}/vectors-bundles/group-{group:05d}-section-{section:05d}.spill"
    if not job.storage.is_whole(uri):
        parts = range(job.parts)[group * BUNDLED : (group + 1) * BUNDLED]
        uris = [spill_uri(job.folder, part) for part in parts]
        lists = range(section * SECTION_LISTS, (section + 1) * SECTION_LISTS)
        note = partial(bundle_notes, job.storage, section == 0)
        merge_spills(job.storage, uris, uri, lists, note)
    return uri
