"""The share of true copies that the search of a run loses: exact neighbours that it missed are
verified.

    exact neighbours of a few queries → those in no candidate → matches → the share of copies lost

It does not matter where a missed neighbour is a stranger, or where the other channel proposes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from copydetect import runs, tables
from copydetect.candidates.pair_numbers import PairNumbers, write_work
from copydetect.index.spills import read_arrays, write_arrays
from copydetect.intervals import wilson
from copydetect.parts import Sides
from copydetect.search.recall_job import RecallJob
from copydetect.storage.files import Storage
from copydetect.transforms.candidates_to_matches import CandidatesToMatches, MatchWork
from copydetect.transforms.run_in_processes import RunInProcesses
from copydetect.transforms.waiting import Then
from copydetect.types import Bools, Candidate, Ints
from copydetect.verification.calibration import bundled_calibration
from copydetect.verification.match_parts import VerifyOptions

from .chains import Stage
from .progress import Progress
from .search_stages import DESCRIPTORS
from .stages import Workplace

Pairs = Ints


def judging_lost(
    place: Workplace,
    sides: Sides,
    candidates: Sequence[str],
    recalls: Mapping[str, RecallJob],
    options: VerifyOptions,
) -> list[Stage[str]]:
    """Verify the exact neighbours of sampled queries that no channel proposed because the search of
    descriptors missed them; the folder of the verdicts. No stage where these were not searched.

    candidates: tables, by part of the queries; recalls: of the searches; options: of the run, whose
    verdicts are there.
    """
    recall = recalls.get(DESCRIPTORS)
    if recall is None:
        return []
    folder = recall.folder
    judge = _JudgePart(place.storage, place.folder, folder, sides, candidates)
    # Its score is unknown, so that a lost pair is judged by what its pixels show.
    alone = replace(options, min_score=-math.inf, calibration=bundled_calibration(()))
    processes = place.processes(len(candidates))
    judging = RunInProcesses(judge, processes)
    verify = CandidatesToMatches(place.storage, sides, alone, folder, processes)
    nearest = Then(_nearest, sides, recall)

    def build(start: PCollection[Any]) -> PCollection[Any]:
        verified: PCollection[Any] = (
            start | "nearest" >> nearest | "judge" >> beam.ParDo(judging) | verify
        )
        return verified

    return [Stage("lost copies", build, folder, Progress("lost copies"))]


def lost_copies(place: Workplace, recalls: Mapping[str, RecallJob]) -> dict[str, float]:
    """Of the copies among the exact neighbours of the sampled queries: the share that was lost, for
    the manifest. Nothing where nothing was sampled, as where the search is exact."""
    recall = recalls.get(DESCRIPTORS)
    if recall is None:
        return {}
    judged = [read_arrays(place.storage, uri)[1] for uri in place.files(recall.folder, "judged")]
    kept = sum(int(one["copies"]) for one in judged)
    matches = [
        tables.read_table(place.storage, uri) for uri in place.files(recall.folder, "matches")
    ]
    lost = sum(int(np.sum(table["is_copy"].to_numpy())) for table in matches)
    if not kept + lost:
        return {}
    return {
        "search_copies": float(kept + lost),
        "search_copies_lost": lost / (kept + lost),
        "search_copies_lost_high": wilson(lost, kept + lost)[1],
    }


def _nearest(sides: Sides, recall: RecallJob) -> list[tuple[int, list[tuple[int, int, bool]]]]:
    """What was sampled, by part; what an earlier run has left of it goes."""
    for made in ("judged", "matches"):
        recall.storage.delete(runs.join(recall.folder, made))
    if not recall.storage.exists(recall.nearest_uri):
        return []
    stored = read_arrays(recall.storage, recall.nearest_uri)[1]
    return _by_part(sides, stored["nearest"], stored["lost"])


def _by_part(
    sides: Sides, nearest: Pairs, lost: Bools
) -> list[tuple[int, list[tuple[int, int, bool]]]]:
    """The pairs in the parts where candidates have them: in a pile at the smaller image_no."""
    ends = np.sort(nearest, axis=1) if sides.symmetric else nearest
    work: dict[int, set[tuple[int, int, bool]]] = {}
    for part, (query, reference), missed in zip(
        sides.queries.parts_of(ends[:, 0]).tolist(), ends.tolist(), lost.tolist(), strict=True
    ):
        work.setdefault(part, set()).add((query, reference, missed))
    return [(part, sorted(pairs)) for part, pairs in sorted(work.items())]


@dataclass(frozen=True)
class _JudgePart:
    """Counts a part's copies that the run has, and writes the pairs that it never proposed."""

    storage: Storage
    run_folder: str
    folder: str
    sides: Sides
    candidates: Sequence[str]

    def __call__(self, work: tuple[int, list[tuple[int, int, bool]]]) -> MatchWork:
        part, pairs = work
        found = {(query, reference) for query, reference, missed in pairs if not missed}
        queries, references = (side.numbers(self.storage) for side in self.sides)
        names = {
            (query, reference): (queries.row(query).image_id, references.row(reference).image_id)
            for query, reference, _ in pairs
        }
        proposed, copies = self._verdicts(part)
        lost = [pair for pair in names if pair not in found and names[pair] not in proposed]
        kept = np.array(sum(pair in copies for pair in names.values()))
        uri = runs.join(self.folder, "judged", runs.part_name(part, "npz"))
        write_arrays(self.storage, uri, part, copies=kept)
        rows = [Candidate.unscored(*names[pair]) for pair in lost]
        table = tables.rows_to_table(rows, tables.CANDIDATES)
        numbers = PairNumbers.unproposed(*np.array(lost, np.int64).reshape(-1, 2).T)
        return write_work(self.storage, self.folder, part, table, numbers)

    def _verdicts(self, part: int) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """The candidates of a part, and its matches that are copies: pairs of image_ids."""
        ends = ["query_id", "reference_id"]
        proposed = tables.read_table(self.storage, self.candidates[part], ends)
        uri = runs.join(self.run_folder, "matches", runs.part_name(part))
        matches = tables.read_table(self.storage, uri, [*ends, "is_copy"])
        accepted = matches.filter(matches["is_copy"])
        proposed_pairs, copies = (
            set(zip(*(table[name].to_pylist() for name in ends), strict=True))
            for table in (proposed, accepted)
        )
        return proposed_pairs, copies
