"""What both channels found → candidates, one file a part of the queries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, PCollection

from copydetect.candidates.candidate_parts import CandidateJob
from copydetect.candidates.crowds import Scale, crowd_step, densities_step, scale_step
from copydetect.candidates.merging import (
    collect_step,
    described_step,
    found_step,
    score_step,
    sides_step,
)


class NeighborsToCandidates(beam.PTransform[Any, Any]):
    """Numbers of the parts of the queries → the URIs of the candidates tables.

    Each step waits for the one before on all parts; what travels between parts goes through files.
    """

    def __init__(self, job: CandidateJob) -> None:
        super().__init__()
        self._job = job

    def expand(self, parts: PCollection[int]) -> PCollection[str]:
        job = self._job
        once = parts.pipeline | "Once" >> beam.Create([None])
        described = (
            parts.pipeline
            | "Descriptors" >> beam.Create(job.described_parts())
            | "Describe" >> beam.Map(_describe, job)
        )
        sides = once | "Sides" >> beam.Map(_sides, job, AsIter(described))
        found = (
            parts
            | "SpreadFound" >> beam.Reshuffle()
            | "Find" >> beam.Map(_find, job, AsIter(sides))
        )
        scale = once | "Scale" >> beam.Map(_scale, job, AsIter(found))
        crowds = (
            parts
            | "SpreadCrowds" >> beam.Reshuffle()
            | "Crowd" >> beam.Map(_crowd, job, AsIter(scale))
        )
        densities = once | "Densities" >> beam.Map(_densities, job, AsIter(scale), AsIter(crowds))
        scored = (
            parts.pipeline
            | "Blocks" >> beam.Create(range(job.blocks))
            | "Score" >> beam.Map(_score, job, AsIter(densities))
        )
        uris: PCollection[str] = (
            parts
            | "SpreadCollect" >> beam.Reshuffle()
            | "Collect" >> beam.Map(_collect, job, AsIter(scored))
        )
        return uris


def _describe(work: tuple[int, int], job: CandidateJob) -> tuple[tuple[int, int], int]:
    return work, described_step(job, work)


def _sides(_: None, job: CandidateJob, described: Iterable[tuple[tuple[int, int], int]]) -> int:
    sides_step(job, list(described))
    return 0


def _find(part: int, job: CandidateJob, sides: Iterable[int]) -> int:
    list(sides)
    found_step(job, part)
    return part


def _scale(_: None, job: CandidateJob, found: Iterable[int]) -> Scale:
    list(found)
    return scale_step(job)


def _crowd(part: int, job: CandidateJob, scale: Iterable[Scale]) -> int:
    crowd_step(job, part, next(iter(scale)))
    return part


def _densities(_: None, job: CandidateJob, scale: Iterable[Scale], crowds: Iterable[int]) -> Scale:
    list(crowds)
    densities_step(job)
    return next(iter(scale))


def _score(block: int, job: CandidateJob, scale: Iterable[Scale]) -> int:
    score_step(job, block, next(iter(scale)))
    return block


def _collect(part: int, job: CandidateJob, scored: Iterable[int]) -> str:
    list(scored)
    return collect_step(job, part)
