"""What both channels found → candidates, one file per part of the queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, PCollection

from copydetect.candidates.candidate_job import CandidateJob
from copydetect.candidates.density_steps import DensityScale, crowd_step, densities_step, scale_step
from copydetect.candidates.merging import (
    collect_step,
    described_step,
    found_step,
    score_step,
    sides_step,
)
from copydetect.transforms.spread import Spread
from copydetect.transforms.work_on_parts import WorkOnParts
from copydetect.workers.processes import Processes


class NeighborsToCandidates(beam.PTransform[Any, Any]):
    """Numbers of the parts of the queries → the URIs of the candidates tables.

    Each step waits for the one before on all parts; what travels between parts goes through files.
    """

    def __init__(self, job: CandidateJob, processes: Processes | None = None) -> None:
        super().__init__()
        self._job = job
        self._processes = processes or Processes()

    def expand(self, parts: PCollection[int]) -> PCollection[str]:
        job = self._job
        once = parts.pipeline | "Once" >> beam.Create([None])
        described = (
            once
            | "Descriptors" >> beam.FlatMap(_described_parts, job, AsIter(parts))
            | "SpreadDescriptors" >> Spread(self._processes)
            | "Describe" >> self._on_parts(_describe)
        )
        sides = once | "Sides" >> beam.Map(_sides, job, AsIter(described))
        found = (
            parts
            | "SpreadFound" >> Spread(self._processes)
            | "Find" >> self._on_parts(found_step, AsIter(sides))
        )
        scale = once | "DensityScale" >> beam.Map(_scale, job, AsIter(found))
        crowds = (
            parts
            | "SpreadCrowds" >> Spread(self._processes)
            | "CrowdScale" >> beam.Map(_with_scale, AsIter(scale))
            | "Crowd" >> self._on_parts(_crowd)
        )
        densities = once | "Densities" >> beam.Map(_densities, job, AsIter(scale), AsIter(crowds))
        scored = (
            densities
            | "Blocks" >> beam.FlatMap(_blocks, job)
            | "SpreadBlocks" >> Spread(self._processes)
            | "Score" >> self._on_parts(_score)
        )
        uris: PCollection[str] = (
            parts
            | "SpreadCollect" >> Spread(self._processes)
            | "Collect" >> self._on_parts(collect_step, AsIter(scored))
        )
        return uris

    def _on_parts(self, step: Callable[[CandidateJob, Any], Any], *ready: AsIter) -> beam.ParDo:
        return beam.ParDo(WorkOnParts(partial(step, self._job), self._processes), *ready)


def _described_parts(_: None, job: CandidateJob, parts: Iterable[int]) -> list[tuple[int, int]]:
    list(parts)
    return job.described_parts()


def _describe(job: CandidateJob, work: tuple[int, int]) -> tuple[tuple[int, int], int]:
    return work, described_step(job, work)


def _sides(_: None, job: CandidateJob, described: Iterable[tuple[tuple[int, int], int]]) -> int:
    sides_step(job, list(described))
    return 0


def _scale(_: None, job: CandidateJob, found: Iterable[int]) -> DensityScale:
    list(found)
    return scale_step(job)


def _with_scale(part: int, scale: Iterable[DensityScale]) -> tuple[int, DensityScale]:
    return part, next(iter(scale))


def _crowd(job: CandidateJob, work: tuple[int, DensityScale]) -> None:
    crowd_step(job, *work)


def _densities(
    _: None, job: CandidateJob, scale: Iterable[DensityScale], crowds: Iterable[int]
) -> DensityScale:
    list(crowds)
    densities_step(job)
    return next(iter(scale))


def _blocks(scale: DensityScale, job: CandidateJob) -> list[tuple[int, DensityScale]]:
    return [(block, scale) for block in range(job.blocks)]


def _score(job: CandidateJob, work: tuple[int, DensityScale]) -> None:
    score_step(job, *work)
