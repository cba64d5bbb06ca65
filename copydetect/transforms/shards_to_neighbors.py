"""Queries × shards → neighbours, one file per part. Elements are numbers and URIs only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
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
from copydetect.transforms.run_in_processes import Count, OnWorkers
from copydetect.transforms.waiting import GatherThen, WaitThen
from copydetect.workers.processes import Processes


class ShardsToNeighbors(beam.PTransform[Any, Any]):
    """(part number, URI) of queries → (part number, URI of its neighbours file), and None.

    Parts are numbered 0, 1, 2, … The index must be finished before they are given.
    """

    def __init__(self, job: SearchJob, processes: Processes | None = None) -> None:
        super().__init__()
        self._searcher = _Searcher(job)
        self._processes = processes or Processes()

    def expand(self, parts: PCollection[Part]) -> PCollection[Part]:
        searcher, processes = self._searcher, self._processes
        job = searcher.job
        merged: PCollection[Part] = (
            parts
            | "Route" >> OnWorkers(searcher.route, processes)
            | "Plan" >> GatherThen(_plan, job)
            | "Search" >> OnWorkers(searcher.search, processes)
            | "Searched" >> WaitThen(_parts_with_floors, job)
            | "Floors" >> OnWorkers(searcher.floors, processes)
            | "OtherShards" >> WaitThen(_tasks_of_round, job, 1)
            | "SearchOthers" >> OnWorkers(searcher.search, processes)
            | "SearchedAll" >> WaitThen(_parts, job)
            | "Merge" >> OnWorkers(searcher.merge, processes)
            | "Count" >> beam.ParDo(Count("search", "neighbors", "saturated_queries"))
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
    """Routes queries, searches shards and merges results; each process opens the index once."""

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

    def floors(self, part: int) -> int:
        job, tasks = self.job, self._loaded().plan.tasks(self.job.options)
        write_floors(job.storage, job.folder, part, tasks, job.options)
        return part

    def merge(self, part: int) -> Merged:
        job, tasks = self.job, self._loaded().plan.tasks(self.job.options)
        uri = merge_part(job.storage, job.folder, part, tasks, job.options)
        neighbors = read_neighbors(job.storage, uri)
        return part, uri, len(neighbors.queries), neighbors.saturated

    def _loaded(self) -> _LoadedSearch:
        loaded: _LoadedSearch = self._search.acquire(self._load_search, tag=self.job.folder)
        return loaded

    def _load_index(self) -> ShardReader:
        return ShardReader(self.job.storage, self.job.index_folder)

    def _load_search(self) -> _LoadedSearch:
        return _LoadedSearch(
            self._load_index(), load_search_plan(self.job.storage, self.job.folder)
        )


def _plan(job: SearchJob, spills: list[str]) -> list[Task]:
    """Plan the search of routed parts; the tasks of the first round."""
    index = load_index(job.storage, job.index_folder)
    save_search_plan(job.storage, job.folder, plan_search(job.storage, spills, index))
    return _tasks_of_round(job, 0)


def _tasks_of_round(job: SearchJob, wanted: int) -> list[Task]:
    tasks = load_search_plan(job.storage, job.folder).tasks(job.options)
    return [task for task in tasks if task[0] == wanted]


def _parts(job: SearchJob) -> list[int]:
    return list(range(len(load_search_plan(job.storage, job.folder).uris)))


def _parts_with_floors(job: SearchJob) -> list[int]:
    """The parts of queries, where other shards are to be searched, too."""
    return _parts(job) if _tasks_of_round(job, 1) else []
