"""Descriptors or local features → a sharded index. Elements are numbers and URIs only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, PCollection
from apache_beam.utils.shared import Shared

from copydetect.index.building import IndexJob, commit_step, route_step, sample_step, train_step
from copydetect.index.partitions import Partition, load_partition
from copydetect.index.routing import Part
from copydetect.index.shard_plans import Plan, load_plan, plan_shards, save_plan
from copydetect.index.shards import Shard, build_shard
from copydetect.transforms.spread import Spread
from copydetect.transforms.work_on_parts import WorkOnParts
from copydetect.workers.processes import Processes


class DescriptorsToShards(beam.PTransform[Any, Any]):
    """(part number, URI) → the folder of the finished index, one element.

    Every step leaves files under the job's folder and finds those that are there: the same
    transform run again continues a build that was interrupted.
    """

    def __init__(self, job: IndexJob, processes: Processes | None = None) -> None:
        super().__init__()
        self._job = job
        self._processes = processes or Processes()

    def expand(self, parts: PCollection[Part]) -> PCollection[str]:
        job = self._job
        processes = self._processes
        sample = WorkOnParts(partial(sample_step, job), processes)
        route = WorkOnParts(_Router(job).route, processes)
        build = WorkOnParts(_Builder(job).build, processes)
        once = parts.pipeline | "Once" >> beam.Create([None])
        samples = parts | "SpreadSample" >> Spread(processes) | "Sample" >> beam.ParDo(sample)
        trained = once | "Train" >> beam.Map(_train, job, AsIter(samples))
        spills = (
            parts
            | "SpreadParts" >> Spread(processes)
            | "Route" >> beam.ParDo(route, AsIter(trained))
        )
        numbers = once | "Plan" >> beam.FlatMap(_plan, job, AsIter(spills))
        shards = numbers | "SpreadShards" >> Spread(processes) | "Build" >> beam.ParDo(build)
        folder: PCollection[str] = once | "Commit" >> beam.Map(_commit, job, AsIter(shards))
        return folder


@dataclass(frozen=True)
class _LoadedIndex:
    """What the builders in one process share."""

    partition: Partition
    plan: Plan


class _Router:
    """Sends the vectors of parts to their lists, in whatever process it is."""

    def __init__(self, job: IndexJob) -> None:
        self._job = job
        self._shared = Shared()

    def route(self, part: Part) -> str:
        return route_step(self._job, self._shared.acquire(self._load), part)

    def _load(self) -> Partition:
        return load_partition(self._job.storage, self._job.partition_uri)


class _Builder:
    """Builds shards, in whatever process it is."""

    def __init__(self, job: IndexJob) -> None:
        self._job = job
        self._shared = Shared()

    def build(self, work: tuple[str, int]) -> Shard:
        identity, number = work
        loaded = self._shared.acquire(self._load, tag=identity)
        storage, folder = self._job.storage, self._job.folder
        return build_shard(storage, folder, loaded.plan, number, loaded.partition)

    def _load(self) -> _LoadedIndex:
        storage, folder = self._job.storage, self._job.folder
        return _LoadedIndex(
            load_partition(storage, self._job.partition_uri), load_plan(storage, folder)
        )


def _train(_: None, job: IndexJob, samples: Sequence[str]) -> str:
    return train_step(job, list(samples)).identity


def _plan(_: None, job: IndexJob, spills: Iterable[str]) -> list[tuple[str, int]]:
    partition = load_partition(job.storage, job.partition_uri)
    plan = plan_shards(job.storage, list(spills), partition)
    save_plan(job.storage, job.folder, plan)
    return [(plan.identity, number) for number in range(plan.shards)]


def _commit(_: None, job: IndexJob, shards: Iterable[Shard]) -> str:
    partition = load_partition(job.storage, job.partition_uri)
    return commit_step(job, partition, list(shards)).folder
