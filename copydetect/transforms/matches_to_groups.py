"""Matches → groups of copies: what families say of their pairs, what connects them, who is kept."""

from __future__ import annotations

from dataclasses import replace
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
    pairs_of_families,
    pairs_of_round,
)
from copydetect.parts import Sides
from copydetect.transforms.candidates_to_matches import CandidatesToMatches
from copydetect.transforms.copies_to_histories import CopiesToHistories
from copydetect.transforms.waiting import WaitThen
from copydetect.verification.whole_families import NAMES
from copydetect.workers.processes import Processes


class MatchesToGroups(beam.PTransform[Any, Any]):
    """Whatever is there when all pairs are verified, and None → None, once the groups are written.

    sides: where the images are that are compared. Few pairs are looked at here; which they are is
    decided on one worker, and they are spread over all.
    """

    def __init__(self, job: GroupJob, sides: Sides, processes: Processes | None = None) -> None:
        super().__init__()
        self._job = job
        self._sides = sides
        self._processes = processes or Processes()

    def expand(self, verified: PCollection[Any]) -> PCollection[Any]:
        job, done = self._job, verified
        for family, name in NAMES.items():
            done = (
                done
                | f"{name} pairs" >> WaitThen(pairs_of_families, job, family)
                | f"{name} verdicts" >> self._verify(runs.join(job.families_folder, name), family)
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
                    job.storage, job.histories_folder, job.decoding, self._processes
                )
                done = done | "copies" >> WaitThen(copies_to_look_at, job) | "look back" >> look
        grouped: PCollection[Any] = done | "group" >> WaitThen(group_step, job)
        return grouped

    def _verify(self, folder: str, family: bool | None = None) -> CandidatesToMatches:
        job = self._job
        options = replace(job.verifying, family=family)
        return CandidatesToMatches(job.storage, self._sides, options, folder, self._processes)
