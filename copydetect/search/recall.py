"""The recall of the search: a few queries are also answered exactly, and the answers compared.

The exact answer reads every part of the collection once, in blocks, with the vectors as they were
before they were coded. So the figure holds what the probed lists and the codes lose together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from copydetect.index.channels import IMAGE_SHIFT
from copydetect.index.partitions import Partition, Vectors
from copydetect.index.routing import Part, Read, sample_part
from copydetect.index.spills import Records
from copydetect.intervals import wilson
from copydetect.search.neighbors import RESULT, Neighbors, merge_results, result_records
from copydetect.search.queries import SearchOptions
from copydetect.types import Floats, Ints

_MARGIN = 64
_BLOCK = 65_536


@dataclass(frozen=True)
class Recall:
    """Share of the exact nearest that the search found.

    found of wanted: neighbours; low, high: Wilson's 95 % interval; k: neighbours of a query.
    """

    found: int
    wanted: int
    queries: int
    k: int

    @property
    def value(self) -> float:
        """The share, 1 where nothing was wanted."""
        return self.found / self.wanted if self.wanted else 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval, as if every neighbour were drawn for itself."""
        return wilson(self.found, self.wanted)

    def __add__(self, other: Recall) -> Recall:
        """Of the queries of both."""
        return Recall(
            self.found + other.found,
            self.wanted + other.wanted,
            self.queries + other.queries,
            self.k,
        )

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.4f} ({low:.4f} … {high:.4f}, {self.queries} queries, k = {self.k})"


def sample_queries(
    read: Read, parts: Sequence[Part], partition: Partition, total: int, wanted: int = 200
) -> tuple[Floats, Ints]:
    """About `wanted` of `total` queries, chosen by hashed id: the same for any parts."""
    share = min(1.0, wanted / max(total, 1))
    samples = [sample_part(read, part, share) for part in parts]
    vectors = np.concatenate([partition.decode(vectors) for vectors, _ in samples])
    return vectors, np.concatenate([ids for _, ids in samples])


def exact_in_part(
    read: Read,
    part: Part,
    queries: tuple[Floats, Ints],
    partition: Partition,
    options: SearchOptions,
) -> Records:
    """The exact nearest of each query in one part, as `RESULT` records, unmerged."""
    faiss.omp_set_num_threads(options.threads)
    references, ids = read(part[1])
    found = [np.empty(0, RESULT)]
    if len(queries[1]):
        # Features are many, and sixteen times larger when they are decoded.
        for start in range(0, len(ids), _BLOCK):
            block = slice(start, start + _BLOCK)
            found.append(_exact_among(references[block], ids[block], queries, partition, options))
    return np.concatenate(found)


def _exact_among(
    references: Vectors,
    ids: Ints,
    queries: tuple[Floats, Ints],
    partition: Partition,
    options: SearchOptions,
) -> Records:
    vectors, query_ids = queries
    l2 = partition.options.metric == "l2"
    metric = faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT
    count = min(options.k + (_MARGIN if options.exclude != "none" else 0), len(ids))
    scores, rows = faiss.knn(vectors, partition.decode(references), count, metric=metric)
    found = ids[np.ravel(rows)], np.ravel(-scores if l2 else scores)
    results = result_records(np.repeat(query_ids, count), *found)
    if options.exclude == "none":
        return results
    shift = IMAGE_SHIFT if options.exclude == "image" else 0
    others: Records = results[results["query"] >> shift != results["id"] >> shift]
    return others


def exact_neighbors(
    read: Read,
    parts: Iterable[Part],
    queries: tuple[Floats, Ints],
    partition: Partition,
    options: SearchOptions,
) -> Neighbors:
    """The exact neighbours of a few queries among all parts, read one after the other."""
    merged = np.empty(0, RESULT)
    for part in parts:
        more = exact_in_part(read, part, queries, partition, options)
        merged = merge_results(np.concatenate([merged, more]), options).records
    return merge_results(merged, options)


def recall_of(found: Neighbors, exact: Neighbors, k: int = 10) -> Recall:
    """How many of the exact k nearest were found.

    `found` may hold more queries than `exact`; those are left out.
    """
    queries, starts = np.unique(exact.queries, return_index=True)
    ends = np.append(starts, len(exact.queries))[1:]
    hits = wanted = 0
    for query, start, end in zip(queries, starts, ends, strict=True):
        nearest = exact.ids[start:end][:k]
        low, high = np.searchsorted(found.queries, [query, query + 1])
        hits += int(np.isin(nearest, found.ids[low:high]).sum())
        wanted += len(nearest)
    return Recall(hits, wanted, len(queries), k)
