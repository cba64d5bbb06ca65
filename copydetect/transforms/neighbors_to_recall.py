"""What a search found → its recall: a few of its queries are also answered exactly."""

from __future__ import annotations

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
from copydetect.transforms.planned import Planned, told_nothing
from copydetect.transforms.spread import Spread
from copydetect.transforms.work_on_parts import WorkOnParts
from copydetect.workers.processes import Processes


class NeighborsToRecall(beam.PTransform[Any, Any]):
    """Whatever is there when the search is done, and None → None, once the job's figures are
    written."""

    def __init__(self, job: RecallJob, processes: Processes | None = None) -> None:
        super().__init__()
        self._job = job
        self._processes = processes or Processes()

    def expand(self, searched: PCollection[Any]) -> PCollection[Any]:
        job, processes, worker = self._job, self._processes, _Worker(self._job)
        sampled = (
            searched
            | "queries" >> Planned(told_nothing(parts_to_sample, job))
            | "spread queries" >> Spread(processes)
            | "sample" >> beam.ParDo(WorkOnParts(worker.sample, processes))
        )
        answered = (
            sampled
            | "references" >> Planned(told_nothing(parts_to_search, job))
            | "spread references" >> Spread(processes)
            | "answer exactly" >> beam.ParDo(WorkOnParts(worker.answer, processes))
        )
        measured: PCollection[Any] = answered | "measure" >> Planned(told_nothing(_measure, job))
        return measured


class _Worker:
    """Works on parts, in whatever process it is."""

    def __init__(self, job: RecallJob) -> None:
        self._job = job
        self._shared = Shared()

    def sample(self, part: Part) -> None:
        sample_step(self._job, self._partition(), part)

    def answer(self, part: Part) -> None:
        exact_step(self._job, self._partition(), part)

    def _partition(self) -> Partition:
        partition: Partition = self._shared.acquire(self._job.partition)
        return partition


def _measure(job: RecallJob) -> tuple[()]:
    recall_step(job)
    return ()
