"""Matches → groups of copies: families are judged, groups connected, and the kept images chosen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect import runs
from copydetect.grouping.group_job import (
    CONNECTED,
    ROUNDS,
    GroupJob,
    copies_to_look_at,
    group_step,
    judge_step,
    pairs_of_round,
    pairs_to_judge_again,
)
from copydetect.parts import Sides
from copydetect.transforms.candidates_to_matches import CandidatesToMatches
from copydetect.transforms.copies_to_histories import CopiesToHistories
from copydetect.transforms.waiting import WaitThen
from copydetect.verification.overturned import NAMES
from copydetect.verification.priors import Standing
from copydetect.workers.processes import Processes


@dataclass(eq=False, repr=False)
class MatchesToGroups(beam.PTransform[Any, Any]):
    """None, once all pairs are verified → None, once the groups are written.

    sides: the images to compare. Only few further pairs are verified here: one worker decides
    which, and all workers verify them.
    """

    job: GroupJob
    sides: Sides
    processes: Processes = field(default_factory=Processes)

    def expand(self, verified: PCollection[Any]) -> PCollection[Any]:
        job, done = self.job, verified
        for standing, name in NAMES.items():
            done = (
                done
                | f"{name} pairs" >> WaitThen(pairs_to_judge_again, job, standing)
                | f"{name} verdicts" >> self._verify(runs.join(job.again_folder, name), standing)
            )
        done = done | "judge" >> WaitThen(judge_step, job)
        for name in ROUNDS:
            done = (
                done
                | f"{name} pairs" >> WaitThen(pairs_of_round, job, name)
                | f"{name} verdicts" >> self._verify(job.round_folder(name))
            )
            if name == CONNECTED:
                look = CopiesToHistories(
                    job.storage, job.histories_folder, job.decoding, self.processes
                )
                done = (
                    done | "copies" >> WaitThen(copies_to_look_at, job) | "file histories" >> look
                )
        grouped: PCollection[Any] = done | "group" >> WaitThen(group_step, job)
        return grouped

    def _verify(self, folder: str, standing: Standing | None = None) -> CandidatesToMatches:
        job = self.job
        options = replace(job.verifying, standing=standing)
        return CandidatesToMatches(job.storage, self.sides, options, folder, self.processes)
