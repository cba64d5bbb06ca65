"""Queries × shards → neighbours, one file per part. Elements are numbers and URIs only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import AsIter, PCollection
from apache_beam.utils.shared import Shared

from copydetect.index.routing import Part
from copydetect.index.shards import ShardReader, load_index
from copydetect.search.neighbors import merge_part, read_neighbors, search_task, write_floors
from copydetect.search.queries import (
    SearchPlan,
    Task,
    load_search_plan,
    plan_search,
    save_search_plan,
)
from copydetect.search.searching import SearchJob, query_step
from copydetect.transforms.spread import Spread
from copydetect.transforms.work_on_parts import WorkOnParts
from copydetect.workers.processes import Processes


class ShardsToNeighbors(beam.PTransform[Any, Any]):
    """(part number, URI) of queries → (part number, URI of its neighbours file).

    Parts are numbered 0, 1, 2, … The index must be finished before the pipeline starts, or be
    given as `index`: the one-element output of `DescriptorsToShards`.
    """

    def __init__(
        self,
        job: SearchJob,
        index: PCollection[str] | None = None,
        processes: Processes | None = None,
    ) -> None:
        super().__init__()
        self._searcher = _Searcher(job)
        self._index = index
        self._processes = processes or Processes()

    def expand(self, parts: PCollection[Part]) -> PCollection[Part]:
        searcher, processes = self._searcher, self._processes
        job, search = searcher.job, WorkOnParts(searcher.search, processes)
        once = parts.pipeline | "Once" >> beam.Create([None])
        ready = self._index if self._index is not None else once
        spills = (
            parts
            | "SpreadParts" >> Spread(processes)
            | "Route" >> beam.ParDo(WorkOnParts(searcher.route, processes), AsIter(ready))
        )
        tasks = once | "Plan" >> beam.FlatMap(_plan, job, AsIter(spills))
        first = (
            tasks
            | "NearestShards" >> beam.Filter(lambda task: task[0] == 0)
            | "SpreadTasks" >> Spread(processes)
            | "Search" >> beam.ParDo(search, AsIter(once))
        )
        floors = (
            parts
            | "SpreadFloors" >> Spread(processes)
            | "Floors" >> beam.ParDo(WorkOnParts(searcher.floors, processes), AsIter(first))
        )
        others = (
            tasks
            | "OtherShards" >> beam.Filter(lambda task: task[0] > 0)
            | "SpreadOthers" >> Spread(processes)
            | "SearchOthers" >> beam.ParDo(search, AsIter(floors))
        )
        searched = (first, others) | "Searched" >> beam.Flatten()
        merged: PCollection[Part] = (
            parts
            | "SpreadMerge" >> Spread(processes)
            | "Merge" >> beam.ParDo(WorkOnParts(searcher.merge, processes), AsIter(searched))
            | "Count" >> beam.ParDo(_Count())
        )
        return merged


@dataclass(frozen=True)
class _LoadedSearch:
    """What the searches in one process share."""

    reader: ShardReader
    plan: SearchPlan


Merged = tuple[int, str, int, int]
"""A part's number, its neighbours file, how many neighbours it holds, and saturated queries."""


class _Searcher:
    """Routes queries, searches shards and merges results, in whatever process it is."""

    def __init__(self, job: SearchJob) -> None:
        self.job = job
        self._index, self._search = Shared(), Shared()

    def route(self, part: Part) -> str:
        reader = self._index.acquire(self._load_index, tag=self.job.index_folder)
        return query_step(self.job, reader, part)

    def search(self, task: Task) -> Task:
        job, loaded = self.job, self._loaded()
        search_task(job.storage, job.folder, loaded.reader, loaded.plan, task, job.options)
        return task

    def floors(self, part: Part) -> int:
        job, loaded = self.job, self._loaded()
        if len(loaded.reader.index.shards) > 1:
            tasks = loaded.plan.tasks(job.options)
            write_floors(job.storage, job.folder, part[0], tasks, job.options)
        return part[0]

    def merge(self, part: Part) -> Merged:
        job, tasks = self.job, self._loaded().plan.tasks(self.job.options)
        uri = merge_part(job.storage, job.folder, part[0], tasks, job.options)
        neighbors = read_neighbors(job.storage, uri)
        return part[0], uri, len(neighbors.queries), neighbors.saturated

    def _loaded(self) -> _LoadedSearch:
        loaded: _LoadedSearch = self._search.acquire(self._load_search, tag=self.job.folder)
        return loaded

    def _load_index(self) -> ShardReader:
        return ShardReader(self.job.storage, self.job.index_folder)

    def _load_search(self) -> _LoadedSearch:
        return _LoadedSearch(
            self._load_index(), load_search_plan(self.job.storage, self.job.folder)
        )


class _Count(beam.DoFn):
    def __init__(self) -> None:
        self._pairs = Metrics.counter("search", "neighbors")
        self._saturated = Metrics.counter("search", "saturated_queries")

    def process(self, merged: Merged) -> Iterator[Part]:
        number, uri, pairs, saturated = merged
        self._pairs.inc(pairs)
        self._saturated.inc(saturated)
        yield number, uri


def _plan(_: None, job: SearchJob, spills: Iterable[str]) -> list[Task]:
    index = load_index(job.storage, job.index_folder)
    plan = plan_search(job.storage, list(spills), index)
    save_search_plan(job.storage, job.folder, plan)
    return plan.tasks(job.options)
