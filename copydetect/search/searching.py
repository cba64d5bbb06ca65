"""The steps in which an index is searched, and all of them one after the other in this process.

`transforms` spreads the same steps over workers; `search_index` is what their result must equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from copydetect.index.routing import Part, Read, probes_uri
from copydetect.index.shards import ShardReader
from copydetect.search.neighbors import merge_part, search_task, write_floors
from copydetect.search.queries import (
    ROUNDS,
    SearchOptions,
    plan_search,
    route_queries,
    save_search_plan,
)
from copydetect.storage.files import Storage
from copydetect.workers.threads import limit_threads


@dataclass(frozen=True)
class SearchJob:
    """A search: where its files go, what reads the queries, and the index.

    folder: of the search; same_parts: the parts are those of the index and were routed into it
    with `self_probes`, so that the lists to visit are known.
    """

    storage: Storage
    folder: str
    read: Read
    index_folder: str
    options: SearchOptions
    same_parts: bool = False


def query_step(job: SearchJob, reader: ShardReader, part: Part) -> str:
    """Route one part of queries."""
    limit_threads(job.options.threads)
    # Routing into a single list leaves nothing to know.
    same_lists = job.same_parts and reader.partition.lists > 1
    known = probes_uri(job.index_folder, part[0]) if same_lists else ""
    return route_queries(
        job.storage, job.folder, job.read, part, reader.partition, reader.index, job.options, known
    )


def search_index(job: SearchJob, parts: Sequence[Part]) -> list[str]:
    """Search an index for all queries; the neighbours files, one per part, in their order.

    Parts are numbered 0, 1, 2, …
    """
    reader = ShardReader(job.storage, job.index_folder)
    spills = [query_step(job, reader, part) for part in parts]
    plan = plan_search(job.storage, spills, reader.index)
    save_search_plan(job.storage, job.folder, plan)
    tasks = plan.tasks(job.options)
    for wanted in range(ROUNDS):
        for task in tasks:
            if task[0] == wanted:
                search_task(job.storage, job.folder, reader, plan, task, job.options)
        for number, _ in parts:
            write_floors(job.storage, job.folder, number, tasks, job.options)
    return [merge_part(job.storage, job.folder, number, tasks, job.options) for number, _ in parts]
