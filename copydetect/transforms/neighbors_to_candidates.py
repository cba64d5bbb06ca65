"""What both channels found → candidates, one file per part of the queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect.candidates.candidate_job import CandidateJob
from copydetect.candidates.density_steps import DensityScale, crowd_step, densities_step, scale_step
from copydetect.candidates.merging import (
    collect_step,
    described_step,
    found_step,
    score_step,
    sides_step,
)
from copydetect.transforms.planned import Planned
from copydetect.transforms.spread import Spread
from copydetect.transforms.work_on_parts import WorkOnParts
from copydetect.workers.processes import Processes


class NeighborsToCandidates(beam.PTransform[Any, Any]):
    """Numbers of the parts of the queries → the URIs of the candidates tables, and None.

    Each step waits for the one before on all parts; what travels between parts goes through files.
    """

    def __init__(self, job: CandidateJob, processes: Processes | None = None) -> None:
        super().__init__()
        self._job = job
        self._processes = processes or Processes()

    def expand(self, parts: PCollection[int]) -> PCollection[str]:
        uris: PCollection[str] = (
            parts
            | "Parts" >> self._planned(_described_parts)
            | "Describe" >> self._work(_describe)
            | "Sides" >> self._planned(_sides)
            | "Find" >> self._work(found_step)
            | "DensityScale" >> self._planned(_with_scale)
            | "Crowd" >> self._work(_crowd)
            | "Densities" >> self._planned(_blocks)
            | "Score" >> self._work(_score)
            | "Scored" >> self._planned(_parts)
            | "Collect" >> self._work(collect_step)
        )
        return uris

    def _planned(self, plan: Callable[[CandidateJob, list[Any]], Iterable[Any]]) -> Planned:
        return Planned(partial(plan, self._job))

    def _work(self, step: Callable[[CandidateJob, Any], Any]) -> _Work:
        return _Work(WorkOnParts(partial(step, self._job), self._processes), self._processes)


class _Work(beam.PTransform[Any, Any]):
    """One step on all parts, spread over workers."""

    def __init__(self, work: WorkOnParts, processes: Processes) -> None:
        super().__init__()
        self._work = work
        self._processes = processes

    def expand(self, parts: PCollection[Any]) -> PCollection[Any]:
        done: PCollection[Any] = parts | Spread(self._processes) | beam.ParDo(self._work)
        return done


def _parts(job: CandidateJob, _: list[Any]) -> range:
    return range(job.proposals.queries.parts)


def _described_parts(job: CandidateJob, _: list[int]) -> list[tuple[int, int]]:
    return job.described_parts()


def _describe(job: CandidateJob, work: tuple[int, int]) -> tuple[tuple[int, int], int]:
    return work, described_step(job, work)


def _sides(job: CandidateJob, described: list[tuple[tuple[int, int], int]]) -> range:
    sides_step(job, described)
    return _parts(job, [])


def _with_scale(job: CandidateJob, _: list[int]) -> list[tuple[int, DensityScale]]:
    scale = scale_step(job)
    return [(part, scale) for part in _parts(job, [])]


def _crowd(job: CandidateJob, work: tuple[int, DensityScale]) -> None:
    crowd_step(job, *work)


def _blocks(job: CandidateJob, _: list[Any]) -> list[tuple[int, DensityScale]]:
    densities_step(job)
    scale = scale_step(job)
    return [(block, scale) for block in range(job.blocks)]


def _score(job: CandidateJob, work: tuple[int, DensityScale]) -> None:
    score_step(job, *work)
