"""Matches → groups of copies: what families say of their pairs, what connects them, who is kept."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
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
from copydetect.transforms.candidates_to_matches import CandidatesToMatches, MatchWork
from copydetect.transforms.copies_to_histories import CopiesToHistories
from copydetect.transforms.planned import Planned
from copydetect.verification.whole_families import NAMES
from copydetect.workers.processes import Processes


class MatchesToGroups(beam.PTransform[Any, Any]):
    """Whatever is there when all pairs are verified → nothing, once the groups are written.

    sides: where the images are that are compared. Few pairs are looked at here; which they are is
    decided on one worker, and they are spread over all.
    """

    def __init__(self, job: GroupJob, sides: Sides, processes: Processes | None = None) -> None:
        super().__init__()
        self._job = job
        self._sides = sides
        self._processes = processes or Processes()

    def expand(self, verified: PCollection[Any]) -> PCollection[Any]:
        job, done = self._job, self._judged(verified)
        for name in ROUNDS:
            done = (
                done
                | f"{name} pairs" >> Planned(partial(pairs_of_round, job, name))
                | f"{name} verdicts" >> self._verify(job.round_folder(name))
            )
            if name == CONNECTED:
                look = CopiesToHistories(
                    job.storage, job.histories_folder, job.decoding, self._processes
                )
                done = (
                    done
                    | "copies" >> Planned(partial(copies_to_look_at, job))
                    | "look back" >> look
                )
        grouped: PCollection[Any] = done | "group" >> Planned(partial(_no_more, group_step, job))
        return grouped

    def _judged(self, verified: PCollection[Any]) -> PCollection[Any]:
        """What families say, once that is written."""
        job = self._job
        overturned = verified | "families" >> Planned(partial(pairs_of_families, job))
        again = [
            overturned
            | f"of {name}" >> beam.FlatMap(_of_families, family)
            | f"{name} verdicts" >> self._verify(runs.join(job.families_folder, name), family)
            for family, name in NAMES.items()
        ]
        judged: PCollection[Any] = (
            again
            | "both" >> beam.Flatten()
            | "judge" >> Planned(partial(_no_more, judge_step, job))
        )
        return judged

    def _verify(self, folder: str, family: bool | None = None) -> CandidatesToMatches:
        job = self._job
        options = replace(job.verifying, family=family)
        return CandidatesToMatches(job.storage, self._sides, options, folder, self._processes)


def _of_families(work: tuple[bool, MatchWork], family: bool) -> list[MatchWork]:
    return [work[1]] if work[0] == family else []


def _no_more(step: Any, job: GroupJob) -> tuple[()]:
    step(job)
    return ()
