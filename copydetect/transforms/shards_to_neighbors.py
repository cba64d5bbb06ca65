"""Queries × shards → neighbours, one file per part. Elements are numbers and URIs only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from copydetect.index.routing import Part
from copydetect.index.shards import ShardReader, load_index
from copydetect.search.neighbors import merge_part, read_neighbors, search_task, write_floors
from copydetect.search.search_plans import (
    Bundle,
    SearchPlan,
    Task,
    bundle_queries,
    bundle_results,
    load_search_plan,
    plan_search,
    query_bundles,
    result_bundles,
    save_search_plan,
)
from copydetect.search.searching import SearchJob, query_step
from copydetect.transforms.run_in_processes import Count, OnWorkers
from copydetect.transforms.waiting import GatherThen, WaitThen
from copydetect.workers.processes import Processes


@dataclass(eq=False, repr=False)
class ShardsToNeighbors(beam.PTransform[Any, Any]):
    """(part number, URI) of queries → (part number, URI of its neighbours file), and None.

    Parts are numbered 0, 1, 2, … The index must be finished before they are given.
    """

    job: SearchJob
    processes: Processes = field(default_factory=Processes)

    def expand(self, parts: PCollection[Part]) -> PCollection[Part]:
        job, processes, searcher = self.job, self.processes, _Searcher(self.job)
        routed: PCollection[Any] = parts | "Route" >> OnWorkers(searcher.route, processes)
        if job.bundled:
            routed = (
                routed
                | "Routed" >> WaitThen(_query_bundles, job)
                | "BundleQueries" >> OnWorkers(partial(bundle_queries, job), processes)
            )
        found = (
            routed | "Plan" >> GatherThen(_plan, job) | "Search" >> _Round(searcher, 0, processes)
        )
        if job.rounds > 1:
            found = (
                found
                | "Searched" >> WaitThen(_groups_with_floors, job)
                | "Floors" >> OnWorkers(searcher.floors, processes)
                | "OtherShards" >> WaitThen(_tasks_of_round, job, 1)
                | "SearchOthers" >> _Round(searcher, 1, processes)
            )
        merged: PCollection[Part] = (
            found
            | "SearchedAll" >> WaitThen(_parts, job)
            | "Merge" >> OnWorkers(searcher.merge, processes)
            | "Count" >> beam.ParDo(Count("search", "neighbors", "saturated_queries"))
        )
        return merged


@dataclass(eq=False, repr=False)
class _Round(beam.PTransform[Any, Any]):
    """Tasks of one round → anything, once their results are there, bundled where parts are many."""

    searcher: _Searcher
    number: int
    processes: Processes

    def expand(self, tasks: PCollection[Task]) -> PCollection[Any]:
        searcher, processes = self.searcher, self.processes
        found: PCollection[Any] = tasks | "Tasks" >> OnWorkers(searcher.search, processes)
        if not searcher.job.bundled:
            return found
        bundled: PCollection[Any] = (
            found
            | "Found" >> WaitThen(_result_bundles, searcher.job, self.number)
            | "BundleResults" >> OnWorkers(searcher.bundle, processes)
        )
        return bundled


@dataclass(frozen=True)
class _LoadedSearch:
    """What the searches in one process share."""

    reader: ShardReader
    plan: SearchPlan


Merged = tuple[int, str, int, int]
"""A part's number, its neighbours file, how many neighbours it holds, and saturated queries."""


@dataclass(frozen=True, eq=False)
class _Searcher:
    """Routes queries, searches shards and merges results; each process opens the index once."""

    job: SearchJob
    _index: Shared = field(default_factory=Shared, init=False)
    _search: Shared = field(default_factory=Shared, init=False)

    def route(self, part: Part) -> str:
        reader = self._index.acquire(self._load_index, tag=self.job.index_folder)
        return query_step(self.job, reader, part)

    def search(self, task: Task) -> Task:
        search_task(self.job, self._loaded().reader, task)
        return task

    def bundle(self, work: tuple[int, Bundle]) -> None:
        bundle_results(self.job, self._loaded().plan, work)

    def floors(self, group: int) -> int:
        return write_floors(self.job, self._loaded().plan, group)

    def merge(self, part: int) -> Merged:
        uri = merge_part(self.job, self._loaded().plan, part)
        neighbors = read_neighbors(self.job.storage, uri)
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


def _query_bundles(job: SearchJob) -> list[Bundle]:
    return query_bundles(job, _shards(job))


def _plan(job: SearchJob, spills: list[str]) -> list[Task]:
    """Plan the search of routed parts; the tasks of the first round."""
    save_search_plan(job.storage, job.folder, plan_search(job, _shards(job), spills))
    return _tasks_of_round(job, 0)


def _result_bundles(job: SearchJob, round_: int) -> list[tuple[int, Bundle]]:
    return result_bundles(load_search_plan(job.storage, job.folder), round_)


def _tasks_of_round(job: SearchJob, wanted: int) -> list[Task]:
    tasks = load_search_plan(job.storage, job.folder).tasks
    return [task for task in tasks if task[0] == wanted]


def _parts(job: SearchJob) -> range:
    return range(load_search_plan(job.storage, job.folder).parts)


def _groups_with_floors(job: SearchJob) -> Sequence[int]:
    """The groups of queries, where other shards are to be searched, too."""
    return load_search_plan(job.storage, job.folder).groups if _shards(job) > 1 else ()


def _shards(job: SearchJob) -> int:
    return len(load_index(job.storage, job.index_folder).shards)
