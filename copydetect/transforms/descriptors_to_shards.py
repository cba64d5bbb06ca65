"""Descriptors or local features → a sharded index. Elements are numbers and URIs only."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from copydetect.index.building import (
    IndexJob,
    bundle_vectors,
    route_step,
    sample_step,
    train_step,
    vector_bundles,
)
from copydetect.index.partitions import Partition, load_partition
from copydetect.index.routing import Part
from copydetect.index.shard_plans import Plan, load_plan, plan_shards, save_plan
from copydetect.index.shards import Shard, build_shard, commit_index
from copydetect.transforms.run_in_processes import OnWorkers
from copydetect.transforms.waiting import GatherThen, WaitThen
from copydetect.workers.processes import Processes


@dataclass(eq=False, repr=False)
class DescriptorsToShards(beam.PTransform[Any, Any]):
    """(part number, URI) of vectors → the folder of the finished index, one element, and None.

    Every step leaves files under the job's folder and finds those that are there: the same
    transform run again continues a build that was interrupted.
    """

    job: IndexJob
    processes: Processes = field(default_factory=Processes)

    def expand(self, parts: PCollection[Part]) -> PCollection[str]:
        job, processes = self.job, self.processes
        routed: PCollection[Any] = (
            parts
            | "Sample" >> OnWorkers(_Sampler(job).sample, processes)
            | "Train" >> GatherThen(_train, job)
            | "Route" >> OnWorkers(_Router(job).route, processes)
        )
        if job.bundled:
            routed = (
                routed
                | "Routed" >> WaitThen(_bundles, job)
                | "Bundle" >> OnWorkers(partial(bundle_vectors, job), processes)
            )
        folder: PCollection[str] = (
            routed
            | "Plan" >> GatherThen(_plan, job)
            | "Build" >> OnWorkers(_Builder(job).build, processes)
            | "Commit" >> GatherThen(_commit, job)
        )
        return folder


@dataclass(frozen=True)
class _LoadedIndex:
    """What the builders in one process share."""

    partition: Partition
    plan: Plan


@dataclass(frozen=True)
class _Sampler:
    """Samples parts for training."""

    job: IndexJob

    def sample(self, part: Part) -> tuple[Part, str]:
        return part, sample_step(self.job, part)


@dataclass(frozen=True, eq=False)
class _Router:
    """Sends the vectors of parts to their lists; each process loads the partition once."""

    job: IndexJob
    _shared: Shared = field(default_factory=Shared, init=False)

    def route(self, part: Part) -> str:
        return route_step(self.job, self._shared.acquire(self._load), part)

    def _load(self) -> Partition:
        return load_partition(self.job.storage, self.job.partition_uri)


@dataclass(frozen=True, eq=False)
class _Builder:
    """Builds shards; each process loads the plan once."""

    job: IndexJob
    _shared: Shared = field(default_factory=Shared, init=False)

    def build(self, work: tuple[str, int]) -> Shard:
        identity, number = work
        loaded = self._shared.acquire(self._load, tag=identity)
        storage, folder = self.job.storage, self.job.folder
        return build_shard(storage, folder, loaded.plan, number, loaded.partition)

    def _load(self) -> _LoadedIndex:
        storage, folder = self.job.storage, self.job.folder
        return _LoadedIndex(
            load_partition(storage, self.job.partition_uri), load_plan(storage, folder)
        )


def _train(job: IndexJob, samples: list[tuple[Part, str]]) -> list[Part]:
    """Train the partition on the samples of all parts, which are then routed."""
    train_step(job, [uri for _, uri in samples])
    return [part for part, _ in samples]


def _bundles(job: IndexJob) -> list[tuple[int, int]]:
    return vector_bundles(job, load_partition(job.storage, job.partition_uri))


def _plan(job: IndexJob, spills: list[str]) -> list[tuple[str, int]]:
    partition = load_partition(job.storage, job.partition_uri)
    plan = plan_shards(job.storage, spills, partition)
    save_plan(job.storage, job.folder, plan)
    return [(plan.identity, number) for number in range(plan.shards)]


def _commit(job: IndexJob, shards: list[Shard]) -> list[str]:
    partition = load_partition(job.storage, job.partition_uri)
    return [commit_index(job.storage, job.folder, partition, shards).folder]
