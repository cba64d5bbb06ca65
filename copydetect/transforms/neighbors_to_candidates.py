"""Neighbours and votes → candidates, one file per part of the queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect.candidates.candidate_job import CandidateJob
from copydetect.candidates.density_steps import DensityScale, crowd_step, densities_step, scale_step
from copydetect.candidates.merging import (
    bundle_step,
    bundles_of_found,
    bundles_of_kept,
    collect_step,
    described_step,
    found_step,
    score_step,
    sides_step,
)
from copydetect.transforms.run_in_processes import OnWorkers
from copydetect.transforms.waiting import GatherThen, WaitThen
from copydetect.workers.processes import Processes


@dataclass(eq=False, repr=False)
class NeighborsToCandidates(beam.PTransform[Any, Any]):
    """Numbers of the parts of the queries → the URIs of the candidates tables, and None.

    Each step waits until the one before has done all parts. Parts exchange data through files.
    """

    job: CandidateJob
    processes: Processes = field(default_factory=Processes)

    def expand(self, parts: PCollection[int]) -> PCollection[str]:
        job = self.job
        found: PCollection[Any] = (
            parts
            | "Parts" >> WaitThen(job.described_parts)
            | "Describe" >> self._on_workers(_describe)
            | "Sides" >> GatherThen(_sides, job)
            | "Find" >> self._on_workers(found_step)
        )
        scored: PCollection[Any] = (
            self._bundled(found, "Found", bundles_of_found)
            | "DensityScale" >> WaitThen(_with_scale, job)
            | "Crowd" >> self._on_workers(_crowd)
            | "Densities" >> WaitThen(_blocks, job)
            | "Score" >> self._on_workers(_score)
        )
        uris: PCollection[str] = (
            self._bundled(scored, "Kept", bundles_of_kept)
            | "Scored" >> WaitThen(_parts, job)
            | "Collect" >> self._on_workers(collect_step)
        )
        return uris

    def _bundled(
        self,
        sent: PCollection[Any],
        name: str,
        bundles: Callable[[CandidateJob], list[tuple[str, int]]],
    ) -> PCollection[Any]:
        """Pairs that were sent, bundled where they lie in many files."""
        job = self.job
        if not job.may_be_bundled:
            return sent
        merged: PCollection[Any] = (
            sent
            | f"{name}Bundles" >> WaitThen(bundles, job)
            | f"Bundle{name}" >> self._on_workers(bundle_step)
        )
        return merged

    def _on_workers(self, step: Callable[[CandidateJob, Any], Any]) -> OnWorkers:
        return OnWorkers(partial(step, self.job), self.processes)


def _parts(job: CandidateJob) -> range:
    return range(job.proposals.queries.parts)


def _describe(job: CandidateJob, work: tuple[int, int]) -> tuple[tuple[int, int], int]:
    return work, described_step(job, work)


def _sides(job: CandidateJob, described: list[tuple[tuple[int, int], int]]) -> range:
    sides_step(job, described)
    return _parts(job)


def _with_scale(job: CandidateJob) -> list[tuple[int, DensityScale]]:
    scale = scale_step(job)
    return [(part, scale) for part in _parts(job)]


def _crowd(job: CandidateJob, work: tuple[int, DensityScale]) -> None:
    crowd_step(job, *work)


def _blocks(job: CandidateJob) -> list[tuple[int, DensityScale]]:
    densities_step(job)
    scale = scale_step(job)
    return [(block, scale) for block in range(job.blocks)]


def _score(job: CandidateJob, work: tuple[int, DensityScale]) -> None:
    score_step(job, *work)
