"""The plan of a search: which queries a task answers, and in which files they and its results are.

    parts of queries → one spill per part → tasks → one spill per task → parts

Where there are many parts, a shard that opened the spills of all, and a part that opened those of
all shards, would open 10⁹ files for 10⁸ images. So 256 parts make a group and 256 destinations a
section, and on both ways spills are merged by group and section: their number is linear in parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from copydetect.index.spills import (
    BUNDLED,
    merge_spills,
    open_spill,
    read_arrays,
    write_arrays,
)
from copydetect.search.queries import queries_uri
from copydetect.search.searching import SearchJob
from copydetect.storage.files import Storage
from copydetect.types import Ints

Task: TypeAlias = tuple[int, int, int, int]
"""One task of a search: its round, a shard, and the first and past-the-last group of queries.

In round 0 a shard answers the queries whose nearest list it holds, or all where that is the only
round. So in round 1, which is for all other queries that visit it, these know how good a neighbour
must be to count.
"""

Bundle: TypeAlias = tuple[int, int]
"""A group of parts, and a section of destinations."""

_PLAN = "search-plan.npz"


@dataclass(frozen=True)
class SearchPlan:
    """How many queries visit which shard.

    parts: of the queries; counts: (rounds, shards, groups) int64; task_queries: as in the options.
    """

    parts: int
    counts: Ints
    task_queries: int

    @cached_property
    def tasks(self) -> list[Task]:
        """Neighbouring groups together: of a shard as few tasks as there can be of `task_queries`
        queries, and all of about as many, so that no worker waits for another."""
        tasks: list[Task] = []
        for round_, shard in np.ndindex(*self.counts.shape[:2]):
            counts = self.counts[round_, shard]
            before, total = np.cumsum(counts) - counts, int(counts.sum())
            number = before * -(-total // self.task_queries) // max(total, 1)
            for wanted in np.unique(number[counts > 0]):
                groups = np.flatnonzero((number == wanted) & (counts > 0))
                tasks.append((round_, shard, int(groups[0]), int(groups[-1]) + 1))
        return tasks

    def of_group(self, group: int, round_: int) -> list[Task]:
        """The tasks of a round that answer queries of a group."""
        return [one for one in self.tasks if one[0] == round_ and one[2] <= group < one[3]]

    @property
    def groups(self) -> range:
        """The groups of parts."""
        return range(self.counts.shape[2])

    def sections(self, round_: int, group: int) -> list[int]:
        """The sections of shards that a group has queries for in a round."""
        shards = np.flatnonzero(self.counts[round_, :, group])
        return [int(section) for section in np.unique(shards // BUNDLED)]


def query_bundles(job: SearchJob, shards: int) -> list[Bundle]:
    """The bundles of queries."""
    groups, sections = -(-job.parts // job.group), -(-job.rounds * shards // BUNDLED)
    return list(np.ndindex(groups, sections))


def bundle_queries(job: SearchJob, bundle: Bundle) -> None:
    """Merge what the parts of a group send to a section of destinations."""
    group, section = bundle
    uris = [queries_uri(job.folder, part) for part in job.parts_of(group)]
    _merge(job.storage, uris, job.bundle_uri("queries", group, section), section)


def result_bundles(plan: SearchPlan, round_: int) -> list[tuple[int, Bundle]]:
    """The bundles of a round's results, and the round."""
    return [
        (round_, (group, section))
        for group in plan.groups
        for section in plan.sections(round_, group)
    ]


def bundle_results(job: SearchJob, plan: SearchPlan, work: tuple[int, Bundle]) -> None:
    """Merge what a section of shards has found for the parts of a group; parts are destinations."""
    round_, (group, section) = work
    tasks = [one for one in plan.of_group(group, round_) if one[1] // BUNDLED == section]
    uris = [result_uri(job.folder, task) for task in tasks]
    _merge(job.storage, uris, job.bundle_uri(f"results-{round_}", group, section), group)


def _merge(storage: Storage, uris: Sequence[str], uri: str, section: int) -> None:
    if not storage.is_whole(uri):
        merge_spills(storage, uris, uri, range(section * BUNDLED, (section + 1) * BUNDLED))


def results_for(job: SearchJob, plan: SearchPlan, part: int, round_: int) -> list[str]:
    """Where the results of a part are: spills whose destinations are parts."""
    group = part // job.group
    if job.bundled:
        kind = f"results-{round_}"
        return [job.bundle_uri(kind, group, one) for one in plan.sections(round_, group)]
    return [result_uri(job.folder, task) for task in plan.of_group(group, round_)]


def result_uri(folder: str, task: Task) -> str:
    """Where the results of a task are."""
    round_, shard, first, _ = task
    return f"{folder}/results/round-{round_}-shard-{shard:05d}-{first:05d}.spill"


def plan_search(job: SearchJob, shards: int, spills: Sequence[str]) -> SearchPlan:
    """Count the queries of all spills by where they go. spills: of the parts, where these are not
    bundled; they are numbered as the parts."""
    parts = job.parts if job.bundled else len(spills)
    counts = np.zeros((job.rounds * shards, -(-parts // job.group)), np.int64)
    bundles = query_bundles(job, shards) if job.bundled else [(part, 0) for part in range(parts)]
    for group, section in bundles:
        spill = open_spill(job.storage, job.queries_for(group, section * BUNDLED))
        counts[spill.keys, group] = np.diff(spill.starts)
    shape = (job.rounds, shards, counts.shape[1])
    return SearchPlan(parts, counts.reshape(shape), job.options.task_queries)


def save_search_plan(storage: Storage, folder: str, plan: SearchPlan) -> str:
    """Write the plan where the tasks find it; returns its URI."""
    uri = f"{folder}/{_PLAN}"
    write_arrays(storage, uri, [plan.parts, plan.task_queries], counts=plan.counts)
    return uri


def load_search_plan(storage: Storage, folder: str) -> SearchPlan:
    """Read the plan of a search; IndexFileError where there is none."""
    (parts, task_queries), arrays = read_arrays(storage, f"{folder}/{_PLAN}")
    return SearchPlan(parts, arrays["counts"], task_queries)
