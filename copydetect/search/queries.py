"""Queries: how an index is searched for them, and which shards they visit.

parts of queries → one spill per part, sorted by shard
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from copydetect.errors import OptionError
from copydetect.index.channels import query_vectors
from copydetect.index.partitions import Partition, Vectors
from copydetect.index.routing import Part, Read, check_vectors
from copydetect.index.shards import Index
from copydetect.index.spills import Records, read_arrays, write_spill
from copydetect.storage.files import Storage
from copydetect.types import Ints


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
    rounds: int = 1,
    known_lists: str = "",
) -> str:
    """Write a part's queries once for each shard that they visit, those for round 0 first.

    Returns the URI of the spill, whose destinations are round · shards + shard. Of two rounds the
    first is for the shard with a query's nearest list.

    Vectors travel as float16 (float32 for codes "Flat"), codes as they are. known_lists: the file
    of the lists to visit, where routing the same part into the index has left it; those of queries
    behind them, of mirror images, are found here.
    """
    uri = queries_uri(folder, part[0])
    if storage.is_whole(uri):
        return uri
    vectors, ids = read(part[1])
    check_vectors(partition.decode(vectors), ids, part[1], partition.dimension)
    vectors = travelling(vectors, partition)
    probes = np.empty((0, options.probes_in(partition)), np.int64)
    if known_lists:
        probes = read_arrays(storage, known_lists)[1]["lists"].astype(np.int64)
    left = query_vectors(partition, vectors[len(probes) :], ids[len(probes) :])
    probes = np.concatenate([probes, partition.nearest_lists(left, options.probes_in(partition))])
    rows, destinations = _destinations(probes, index, rounds)
    records = query_records(vectors[rows], ids[rows], probes[rows], part[0])
    write_spill(storage, uri, destinations, records, {"queries": len(ids)})
    return uri


def queries_uri(folder: str, part: int) -> str:
    """Where the routed queries of a part are."""
    return f"{folder}/queries/part-{part:05d}.spill"


def _destinations(probes: Ints, index: Index, rounds: int) -> tuple[Ints, Ints]:
    """Which queries go where, as `route_queries` says: (rows, destinations), in their order."""
    visits = index.shards_of(probes)
    rows = np.concatenate([np.empty(0, np.int64), *(rows for _, rows in visits)])
    counts = [len(rows) for _, rows in visits]
    shards = np.repeat(np.array([shard for shard, _ in visits], dtype=np.int64), counts)
    if rounds == 1:
        return rows, shards
    away = (index.homes_of(probes)[rows] != shards).astype(np.int64)
    destinations = away * len(index.shards) + shards
    order = np.argsort(destinations, kind="stable")
    return rows[order], destinations[order]


def travelling(vectors: Vectors, partition: Partition) -> Vectors:
    """Vectors of queries as they are sent to shards."""
    if vectors.dtype == np.uint8:
        return vectors
    return vectors.astype(np.float32 if partition.options.coding.is_float32 else np.float16)


def query_records(vectors: Vectors, ids: Ints, probes: Ints, part: int = 0) -> Records:
    """(n,) records of queries: what is sent of each. probes: (n, p) lists that it visits."""
    lists, vector = ("lists", "<i4", probes.shape[1:]), ("vector", vectors.dtype, vectors.shape[1:])
    records = np.empty(len(ids), np.dtype([("query", "<i8"), ("part", "<i4"), lists, vector]))
    records["query"], records["part"] = ids, part
    records["lists"], records["vector"] = probes, vectors
    return records
