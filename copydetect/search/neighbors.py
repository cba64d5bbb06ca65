"""Neighbours: what each query finds in the lists that it visits, shard by shard, then merged.

    queries, by shard → tasks → results, by part → neighbours

A query of descriptors first visits the shard with its nearest list; what it finds there tells the
other shards what is worth a look.

A query is answered as if one inverted file held everything: the same vectors are compared, and
equal scores are ordered by id. So the answer does not depend on shards, parts, tasks or order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import faiss
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from copydetect.index.channels import query_vectors
from copydetect.index.shards import ShardReader
from copydetect.index.spills import (
    Records,
    open_spill,
    read_arrays,
    read_destination,
    read_records,
    write_arrays,
    write_spill,
)
from copydetect.parts import PART, PartNames
from copydetect.search.feature_join import FeatureJoin, is_exact
from copydetect.search.list_join import ListJoin, best_of
from copydetect.search.queries import SearchOptions
from copydetect.search.search_plans import SearchPlan, Task, result_uri, results_for
from copydetect.search.searching import SearchJob
from copydetect.sorted_rows import place_in_run
from copydetect.storage.files import Storage
from copydetect.types import Bools, Floats, Ints

RESULT = np.dtype([("query", "<i8"), ("id", "<i8"), ("score", "<f4")])


@dataclass(frozen=True)
class Neighbors:
    """What the queries of one part found, ordered by query, then by score and id.

    queries, ids: (n,) int64; scores: (n,) float32, higher is better; saturated: how many queries
    had k or more neighbours over `connect_score` or `capped_score`, so that some were cut.
    """

    queries: Ints
    ids: Ints
    scores: Floats
    saturated: int = 0

    @classmethod
    def of(cls, records: Records, saturated: int) -> Neighbors:
        """Those that `RESULT` records hold."""
        queries, ids, scores = (
            np.ascontiguousarray(records[name]) for name in ("query", "id", "score")
        )
        return cls(queries, ids, scores, saturated)

    @classmethod
    def joined(cls, lists: Sequence[Neighbors]) -> Neighbors:
        """Several, at least one, one after the other."""
        queries, ids, scores = (
            np.concatenate([getattr(one, name) for one in lists])
            for name in ("queries", "ids", "scores")
        )
        return cls(queries, ids, scores, sum(one.saturated for one in lists))

    def take(self, rows: Ints | Bools | slice) -> Neighbors:
        """Some of them."""
        return Neighbors(self.queries[rows], self.ids[rows], self.scores[rows], self.saturated)

    @property
    def records(self) -> Records:
        """`RESULT` records of them."""
        return result_records(self.queries, self.ids, self.scores)


def result_records(queries: Ints, ids: Ints, scores: Floats) -> Records:
    """(n,) `RESULT` records."""
    records = np.empty(len(queries), RESULT)
    records["query"], records["id"], records["score"] = queries, ids, scores
    return records


def search_task(job: SearchJob, reader: ShardReader, task: Task) -> str:
    """Search one shard for the queries of some groups of parts; results are sorted by part."""
    storage, options = job.storage, job.options
    uri = result_uri(job.folder, task)
    if storage.is_whole(uri):
        return uri
    faiss.omp_set_num_threads(options.threads)
    threadpool_limits(options.threads)
    round_, shard, first, stop = task
    to, groups = round_ * len(reader.index.shards) + shard, range(first, stop)
    records: Records = np.concatenate(
        [read_destination(storage, job.queries_for(group, to), to) for group in groups]
    )
    floors = _floors_of(job, groups, records["query"]) if round_ else None
    rows, results = search_shard(reader, shard, records, options, floors)
    write_spill(storage, uri, records["part"][rows].astype(np.int64), results)
    return uri


def search_shard(
    reader: ShardReader,
    shard: int,
    records: Records,
    options: SearchOptions,
    floors: Floats | None = None,
) -> tuple[Ints, Records]:
    """The neighbours of queries in one shard: (n,) row of `records`, (n,) `RESULT` records.

    floors: (queries,) float32, the score below which a neighbour of each cannot be among its best.
    """
    partition = reader.partition
    probes = _probes_inside(reader, shard, records["lists"])
    held = reader.shard(shard)
    queries, vectors, whole = records["query"], records["vector"], is_exact(held)
    # A join widens float16 as it goes: queries take half the memory.
    if whole or vectors.dtype != np.float16:
        vectors = query_vectors(partition, vectors, queries)
    arguments = (held, queries, vectors, probes, options)
    search = FeatureJoin(*arguments) if whole else ListJoin(*arguments, floors)
    rows, ids, scores = search.run()
    return rows, result_records(queries[rows], ids, scores)


def _probes_inside(
    reader: ShardReader, shard: int, probes: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """The probed lists that the shard may hold, nearest first, then −1.

    So the first list that is searched is a near one, and shows which others can still matter.
    """
    held = reader.index.shards[shard]
    outside = (probes < held.first_list) | (probes > held.last_list)
    order = np.argsort(outside, axis=1, kind="stable")
    inside = np.take_along_axis(np.where(outside, -1, probes), order, axis=1)
    widest = int((~outside).sum(axis=1).max(initial=1))
    kept: npt.NDArray[np.int32] = np.ascontiguousarray(inside[:, :widest])
    return kept


def write_floors(job: SearchJob, plan: SearchPlan, group: int) -> int:
    """Write the least score that still counts for each query of a group in round 1; returns the
    group. A query that has found k neighbours needs none that is worse than the last of them.
    """
    uri = _floors_uri(job.folder, group)
    if not job.storage.is_whole(uri):
        found = [_floors_in(job, plan, part) for part in job.parts_of(group)]
        queries, floors = (np.concatenate(column) for column in zip(*found, strict=True))
        write_arrays(job.storage, uri, group, queries=queries, floors=floors)
    return group


def _floors_in(job: SearchJob, plan: SearchPlan, part: int) -> tuple[Ints, Floats]:
    """Queries of a part that found k neighbours in round 0, and the score of their last."""
    results = _results_of(job, plan, part, [0])
    best = merge_results(results, replace(job.options, connect_score=np.inf))
    queries, counts = np.unique(best.queries, return_counts=True)
    full = counts == job.options.k
    last = np.cumsum(counts) - 1
    return queries[full], best.scores[last[full]]


def _floors_of(job: SearchJob, groups: Sequence[int], queries: Ints) -> Floats:
    """(n,) float32 floors of queries of some groups, −inf where there is none."""
    uris = [_floors_uri(job.folder, group) for group in groups]
    found = [read_arrays(job.storage, uri)[1] for uri in uris]
    known = np.concatenate([one["queries"] for one in found])
    values = np.concatenate([one["floors"] for one in found])
    order = np.argsort(known)
    known, values = known[order], values[order]
    floors = np.full(len(queries), -np.inf, dtype=np.float32)
    if len(known):
        at = np.minimum(np.searchsorted(known, queries), len(known) - 1)
        floors = np.where(known[at] == queries, values[at], floors)
    return floors


def _floors_uri(folder: str, group: int) -> str:
    return f"{folder}/floors/group-{group:05d}.npz"


def merge_results(results: Records, options: SearchOptions) -> Neighbors:
    """The best k of what all shards found for some queries, and what connects crowds."""
    if options.connect_score == np.inf:
        queries, rows = np.unique(results["query"], return_inverse=True)
        rows, ids, scores = best_of((rows, results["id"], results["score"]), options.k)
        counts = np.bincount(rows, minlength=len(queries))
        last = np.cumsum(counts)[counts == options.k] - 1
        capped = int(np.count_nonzero(scores[last] >= options.capped_score))
        return Neighbors(queries[rows], ids, scores, capped)
    results = results[np.lexsort((results["id"], -results["score"], results["query"]))]
    queries = results["query"]
    ranks = place_in_run(queries)
    starts = np.flatnonzero(ranks == 0)
    sizes = np.diff([*starts, len(queries)])
    kept = ranks < options.k
    over = results["score"] >= options.connect_score
    crowded = np.zeros(len(starts), dtype=bool)
    if len(starts):
        crowded = np.add.reduceat(over.astype(np.int64), starts) >= options.k
        ids = np.where(over, results["id"], np.iinfo(np.int64).max)
        lowest = np.repeat(np.minimum.reduceat(ids, starts), sizes)
        kept |= np.repeat(crowded, sizes) & (results["id"] == lowest)
    full = min(options.connect_score, options.capped_score)
    capped = int(np.count_nonzero(results["score"][ranks == options.k - 1] >= full))
    return Neighbors.of(results[kept], capped)


def neighbors_uri(folder: str, part: int) -> str:
    """Where the neighbours of a part of queries are."""
    return f"{folder}/neighbors/part-{part:05d}.spill"


def neighbors_uris(folder: str, parts: int) -> PartNames:
    """Those of all parts."""
    return PartNames(f"{folder}/neighbors", PART, parts, "spill")


def merge_part(job: SearchJob, plan: SearchPlan, part: int) -> str:
    """Merge the results of one part of queries into its neighbours file; returns the URI."""
    uri = neighbors_uri(job.folder, part)
    if not job.storage.is_whole(uri):
        results = _results_of(job, plan, part, range(job.rounds))
        write_neighbors(job.storage, uri, merge_results(results, job.options))
    return uri


def _results_of(job: SearchJob, plan: SearchPlan, part: int, rounds: Iterable[int]) -> Records:
    """What was found for the queries of a part in some rounds."""
    uris = [uri for one in rounds for uri in results_for(job, plan, part, one)]
    found = (read_destination(job.storage, uri, part) for uri in uris)
    results: Records = np.concatenate([np.empty(0, RESULT), *found])
    return results


def write_neighbors(storage: Storage, uri: str, neighbors: Neighbors) -> None:
    """Write the neighbours of one part."""
    destinations = np.zeros(len(neighbors.queries), dtype=np.int64)
    write_spill(storage, uri, destinations, neighbors.records, {"saturated": neighbors.saturated})


def saturated_queries(storage: Storage, uris: Sequence[str]) -> int:
    """How many queries of some parts had more good neighbours than they could keep, or as many."""
    return sum(int(open_spill(storage, uri).notes["saturated"]) for uri in uris)


def read_neighbors(storage: Storage, uri: str) -> Neighbors:
    """Read the neighbours of one part; IndexFileError where the file is missing or damaged."""
    spill = open_spill(storage, uri)
    records = read_records(storage, spill, 0, len(spill))
    return Neighbors.of(records, int(spill.notes["saturated"]))
