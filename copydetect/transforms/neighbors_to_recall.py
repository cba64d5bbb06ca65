"""A finished search → its recall: a few of its queries are also answered exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from copydetect.index.partitions import Partition
from copydetect.index.routing import Part
from copydetect.search.recall_job import (
    RecallJob,
    exact_step,
    parts_to_sample,
    parts_to_search,
    recall_step,
    sample_step,
)
from copydetect.transforms.run_in_processes import OnWorkers
from copydetect.transforms.waiting import WaitThen
from copydetect.workers.processes import Processes


@dataclass(eq=False, repr=False)
class NeighborsToRecall(beam.PTransform[Any, Any]):
    """None, once the search is done → None, once its figures are written."""

    job: RecallJob
    processes: Processes = field(default_factory=Processes)

    def expand(self, searched: PCollection[Any]) -> PCollection[Any]:
        job, processes, worker = self.job, self.processes, _Worker(self.job)
        measured: PCollection[Any] = (
            searched
            | "queries" >> WaitThen(parts_to_sample, job)
            | "sample" >> OnWorkers(worker.sample, processes)
            | "references" >> WaitThen(parts_to_search, job)
            | "answer exactly" >> OnWorkers(worker.answer, processes)
            | "measure" >> WaitThen(recall_step, job)
        )
        return measured


@dataclass(frozen=True, eq=False)
class _Worker:
    """Works on parts; each process loads the partition once."""

    job: RecallJob
    _shared: Shared = field(default_factory=Shared, init=False)

    def sample(self, part: Part) -> None:
        sample_step(self.job, self._partition(), part)

    def answer(self, part: Part) -> None:
        exact_step(self.job, self._partition(), part)

    def _partition(self) -> Partition:
        partition: Partition = self._shared.acquire(self.job.partition)
        return partition
