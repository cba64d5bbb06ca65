"""A search's own loss as a stage: a few of its queries answered exactly, part by part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsIter, PCollection

from copydetect.index.building import SearchJob
from copydetect.index.partitions import Floats, Integers, load_partition
from copydetect.index.routing import Part, Read
from copydetect.index.shards import PARTITION
from copydetect.index.spills import Records
from copydetect.search.neighbors import (
    RESULT,
    Neighbors,
    merge_results,
    neighbors_uri,
    read_neighbors,
)
from copydetect.search.recall import Recall, exact_in_part, recall_of, sample_queries

Sample = tuple[int, Floats, Integers]
"""A part of queries, the sampled vectors (n, d) float32 and their ids (n,) int64."""


@dataclass(frozen=True)
class RecallJob:
    """What is measured: a finished search, and what its index was made from.

    references: reads a part of the indexed vectors; queries: how many the search had, about;
    wanted: how many of them to answer exactly; k: neighbours that are compared.
    """

    search: SearchJob
    references: Read
    queries: int
    wanted: int = 200
    k: int = 10


class SearchRecall(beam.PTransform[Any, Any]):
    """(parts of queries, parts of references) → one `Recall`. The search must be finished."""

    def __init__(self, job: RecallJob) -> None:
        super().__init__()
        self._job = job

    def expand(self, parts: tuple[PCollection[Part], PCollection[Part]]) -> PCollection[Recall]:
        queries, references = parts
        samples = queries | "SpreadQueries" >> beam.Reshuffle() | beam.Map(_sample, self._job)
        exact = (
            references
            | "SpreadReferences" >> beam.Reshuffle()
            | "Exact" >> beam.Map(_exact, self._job, AsIter(samples))
        )
        once = references.pipeline | "Once" >> beam.Create([None])
        recall: PCollection[Recall] = once | "Compare" >> beam.Map(
            _compare, self._job, AsIter(samples), AsIter(exact)
        )
        return recall


def _sample(part: Part, job: RecallJob) -> Sample:
    partition = load_partition(job.search.storage, f"{job.search.index_folder}/{PARTITION}")
    vectors, ids = sample_queries(job.search.read, [part], partition, job.queries, job.wanted)
    return part[0], vectors, ids


def _exact(part: Part, job: RecallJob, samples: Iterable[Sample]) -> Records:
    partition = load_partition(job.search.storage, f"{job.search.index_folder}/{PARTITION}")
    ordered = sorted(samples, key=lambda sample: sample[0])
    vectors = np.concatenate([sample[1] for sample in ordered])
    ids = np.concatenate([sample[2] for sample in ordered])
    options = replace(job.search.options, k=job.k)
    found = exact_in_part(job.references, part, (vectors, ids), partition, options)
    return _records(merge_results(found, options))


def _records(neighbors: Neighbors) -> Records:
    records = np.empty(len(neighbors.ids), RESULT)
    records["query"], records["id"] = neighbors.queries, neighbors.ids
    records["score"] = neighbors.scores
    return records


def _compare(
    _: None, job: RecallJob, samples: Iterable[Sample], exact: Iterable[Records]
) -> Recall:
    merged = np.concatenate([np.empty(0, RESULT), *exact])
    wanted = merge_results(merged, replace(job.search.options, k=job.k))
    measured = Recall(0, 0, 0, job.k)
    for part, _vectors, ids in samples:
        found = read_neighbors(job.search.storage, neighbors_uri(job.search.folder, part))
        mine = np.isin(wanted.queries, ids)
        some = Neighbors(wanted.queries[mine], wanted.ids[mine], wanted.scores[mine])
        measured += recall_of(found, some, job.k)
    return measured
