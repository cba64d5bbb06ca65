"""Queries: routed to the shards that they visit, and cut into the tasks of a search.

parts of queries → one spill per part, sorted by shard → a plan → tasks
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from copydetect.errors import OptionError
from copydetect.index.partitions import Integers, Partition, Vectors
from copydetect.index.routing import Part, Read, check_vectors
from copydetect.index.shards import Index
from copydetect.index.spills import dtype_of, open_spill, read_arrays, write_arrays, write_spill
from copydetect.storage.files import Storage

Task: TypeAlias = tuple[int, int, int, int]
"""One task of a search: its round, a shard, and the first and past-the-last part of queries.

In round 0 a shard answers the queries whose nearest list it holds. So in round 1, which is for all
other queries that visit it, these know how good a neighbour must be to count. Local features are
all answered in round 0: to decode a list once more takes longer than that saves.
"""

ROUNDS = 2

_PLAN = "search-plan.npz"


@dataclass(frozen=True)
class SearchOptions:
    """How an index is searched.

    k: neighbours that a query keeps, at most; min_score: of a neighbour, higher is better;
    connect_score: a query with k or more neighbours from this score up also keeps the one of the
    lowest id among them, so that cutting at k does not tear a crowd of copies apart (off: inf);
    capped_score: queries whose k neighbours all reach it are counted, since they may have more
    copies than are kept; exclude: what a query does not find: "none", "self" (its own id) or
    "image" (an id with its own upper 32 bits: features of the same image); probes: lists that a
    query visits, 0 for the partition's; threads: of FAISS, in one worker; task_queries: queries of
    one task, about.
    """

    k: int = 32
    min_score: float = -np.inf
    connect_score: float = np.inf
    capped_score: float = np.inf
    exclude: Literal["none", "self", "image"] = "none"
    probes: int = 0
    threads: int = 1
    task_queries: int = 131_072

    def __post_init__(self) -> None:
        for name in ("k", "threads", "task_queries"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1: {getattr(self, name)}")
        if self.probes < 0:
            raise OptionError(f"probes must be 0 (automatic) or more: {self.probes}")
        if self.exclude not in ("none", "self", "image"):
            raise OptionError(f"exclude must be none, self or image: {self.exclude!r}")
        if self.connect_score < self.min_score:
            raise OptionError(
                f"connect_score {self.connect_score} is below min_score {self.min_score}"
            )

    def probes_in(self, partition: Partition) -> int:
        """Lists that a query visits."""
        return min(self.probes or partition.probes, partition.lists)


def route_queries(
    storage: Storage,
    folder: str,
    read: Read,
    part: Part,
    partition: Partition,
    index: Index,
    options: SearchOptions,
    known_lists: str = "",
) -> str:
    """Write a part's queries once for each shard that they visit, those for round 0 first.

    Returns the URI of the spill, whose destinations are round · shards + shard.

    Vectors travel as float16 (float32 for codes "Flat"), codes as they are. known_lists: the file
    of the lists to visit, where routing the same part into the index has left it.
    """
    uri = f"{folder}/queries/part-{part[0]:05d}.spill"
    if storage.is_whole(uri):
        return uri
    vectors, ids = read(part[1])
    check_vectors(partition.decode(vectors), ids, part[1], partition.dimension)
    vectors = _travelling(vectors, partition)
    if known_lists:
        probes = read_arrays(storage, known_lists)[1]["lists"].astype(np.int64)
    else:
        probes = partition.nearest_lists(vectors, options.probes_in(partition))
    rows, destinations = _destinations(probes, index, partition.options.of_features)
    records = np.empty(len(rows), dtype=_query_type(vectors, probes.shape[1]))
    records["query"], records["lists"], records["vector"] = ids[rows], probes[rows], vectors[rows]
    write_spill(storage, uri, destinations, records, {"queries": len(ids)})
    return uri


def _destinations(probes: Integers, index: Index, at_once: bool) -> tuple[Integers, Integers]:
    """Which queries go where, as `route_queries` says: (rows, destinations), in their order.

    at_once: whether all are answered in round 0.
    """
    visits = index.shards_of(probes)
    rows = np.concatenate([np.empty(0, np.int64), *(rows for _, rows in visits)])
    counts = [len(rows) for _, rows in visits]
    shards = np.repeat(np.array([shard for shard, _ in visits], dtype=np.int64), counts)
    away = (index.homes_of(probes)[rows] != shards) & (not at_once)
    destinations = away * len(index.shards) + shards
    order = np.argsort(destinations, kind="stable")
    return rows[order], destinations[order]


def _travelling(vectors: Vectors, partition: Partition) -> Vectors:
    if vectors.dtype == np.uint8:
        return vectors
    return vectors.astype(np.float32 if partition.options.coding.is_float32 else np.float16)


def _query_type(vectors: Vectors, probes: int) -> np.dtype[np.void]:
    width = (vectors.shape[1],)
    return np.dtype(
        [("query", "<i8"), ("lists", "<i4", (probes,)), ("vector", vectors.dtype.str, width)]
    )


@dataclass(frozen=True)
class SearchPlan:
    """Which records of which query spill belong to which shard.

    uris: one spill per part; offsets: (parts,) bytes; ranges: (rounds, shards, parts, 2) int64,
    records.
    """

    uris: list[str]
    offsets: Integers
    ranges: Integers
    dtype: np.dtype[np.void]

    def tasks(self, options: SearchOptions) -> list[Task]:
        """Neighbouring parts together, until they hold `task_queries` queries of a shard."""
        tasks: list[Task] = []
        for round_, shard in np.ndindex(*self.ranges.shape[:2]):
            ranges = self.ranges[round_, shard]
            counts = ranges[:, 1] - ranges[:, 0]
            number = (np.cumsum(counts) - counts) // options.task_queries
            for wanted in np.unique(number[counts > 0]):
                parts = np.flatnonzero((number == wanted) & (counts > 0))
                tasks.append((round_, shard, int(parts[0]), int(parts[-1]) + 1))
        return tasks


def plan_search(storage: Storage, spills: Sequence[str], index: Index) -> SearchPlan:
    """Gather the headers of all query spills; spills are numbered as their parts."""
    uris = sorted(spills)
    headers = [open_spill(storage, uri) for uri in uris]
    destinations = range(ROUNDS * len(index.shards))
    ranges = [[header.range_of(to) for header in headers] for to in destinations]
    offsets = np.array([header.offset_bytes for header in headers], dtype=np.int64)
    dtype = headers[0].dtype if headers else np.dtype([("query", "<i8")])
    shape = (ROUNDS, len(index.shards), len(uris), 2)
    return SearchPlan(uris, offsets, np.array(ranges, dtype=np.int64).reshape(shape), dtype)


def save_search_plan(storage: Storage, folder: str, plan: SearchPlan) -> str:
    """Write the plan where the tasks find it; returns its URI."""
    uri = f"{folder}/{_PLAN}"
    described = [plan.uris, plan.dtype.descr]
    write_arrays(storage, uri, described, offsets=plan.offsets, ranges=plan.ranges)
    return uri


def load_search_plan(storage: Storage, folder: str) -> SearchPlan:
    """Read the plan of a search; IndexFileError where there is none."""
    (uris, fields), arrays = read_arrays(storage, f"{folder}/{_PLAN}")
    return SearchPlan(uris, arrays["offsets"], arrays["ranges"], dtype_of(fields))
