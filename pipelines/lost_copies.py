"""The true copies that a run's own search loses: the exact neighbours that it missed are verified.

    exact neighbours of a few queries → those in no candidate → matches → the share of copies lost

It does not matter where a missed neighbour is a stranger, or where the other channel proposes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from copydetect import runs, tables
from copydetect.candidates.pair_numbers import PairNumbers, write_pairs
from copydetect.index.channels import IMAGE_SHIFT
from copydetect.index.spills import read_arrays, write_arrays
from copydetect.intervals import wilson
from copydetect.parts import Sides
from copydetect.search.neighbors import Neighbors
from copydetect.storage.files import Storage
from copydetect.transforms.candidates_to_matches import CandidatesToMatches, MatchWork
from copydetect.transforms.work_on_parts import WorkOnParts
from copydetect.types import Candidate
from copydetect.verification.calibration import bundled_calibration
from copydetect.verification.match_parts import VerifyOptions

from .stages import Workplace

NEAREST = "nearest.npz"
Pairs = npt.NDArray[np.int64]


def write_nearest(storage: Storage, uri: str, exact: Neighbors, found: Neighbors, k: int) -> None:
    """Write down which images the exact k nearest of a few queries belong to, and which of these
    were found."""
    starts = np.searchsorted(exact.queries, exact.queries)
    best = np.arange(len(exact.queries)) - starts < k
    wanted = Neighbors(exact.queries[best], exact.ids[best], exact.scores[best])
    nearest, seen = (np.stack([one.queries, one.ids], 1) >> IMAGE_SHIFT for one in (wanted, found))
    nearest = np.unique(nearest, axis=0)
    known = {(query, reference) for query, reference in seen.tolist()}
    lost = np.array([tuple(pair) not in known for pair in nearest.tolist()], bool)
    write_arrays(storage, uri, "", nearest=nearest, lost=lost)


def lost_copies(
    place: Workplace,
    sides: Sides,
    candidates: Sequence[str],
    options: VerifyOptions,
) -> dict[str, float]:
    """Of the copies among the exact neighbours of the sampled queries: the share that no channel
    proposed because the search of descriptors missed them, for the manifest.

    candidates: tables, by part of the queries; options: of the run, whose verdicts are there.
    Nothing where nothing was sampled, as where the search is exact.
    """
    folder = runs.join(place.folder, "search", "quality")
    if not place.storage.exists(runs.join(folder, NEAREST)):
        return {}
    stored = read_arrays(place.storage, runs.join(folder, NEAREST))[1]
    judge = _JudgePart(place.storage, place.folder, folder, sides, tuple(candidates))
    # Its score is unknown, so that a lost pair is judged by what its pixels show.
    alone = replace(options, min_score=-math.inf, calibration=bundled_calibration(()))
    judging = WorkOnParts(judge, place.started)
    verify = CandidatesToMatches(place.storage, sides, alone, folder, place.started)
    work = _by_part(sides, stored["nearest"], stored["lost"])
    place.engine.run("recall", lambda p: p | beam.Create(work) | beam.ParDo(judging) | verify)
    judged = [read_arrays(place.storage, uri)[1] for uri in place.files(folder, "judged")]
    kept = sum(int(one["copies"]) for one in judged)
    matches = [tables.read_table(place.storage, uri) for uri in place.files(folder, "matches")]
    lost = sum(int(np.sum(table["is_copy"].to_numpy())) for table in matches)
    if not kept + lost:
        return {}
    return {
        "search_copies": float(kept + lost),
        "search_copies_lost": lost / (kept + lost),
        "search_copies_lost_high": wilson(lost, kept + lost)[1],
    }


def _by_part(
    sides: Sides, nearest: Pairs, lost: npt.NDArray[np.bool_]
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
    candidates: tuple[str, ...]

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
        name = runs.part_name(part, "npz")
        write_arrays(self.storage, runs.join(self.folder, "judged", name), part, copies=kept)
        rows = [_unscored(*names[pair]) for pair in lost]
        table = runs.join(self.folder, "lost", runs.part_name(part))
        tables.write_table(self.storage, table, tables.rows_to_table(rows, tables.CANDIDATES))
        ends = np.array(lost, np.int64).reshape(-1, 2)
        starts, points = np.zeros(len(lost) + 1, np.int64), np.empty((0, 4), np.float32)
        uri = runs.join(self.folder, "pairs", name)
        write_pairs(self.storage, uri, PairNumbers(ends[:, 0], ends[:, 1], starts, points))
        return part, table, uri

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


def _unscored(query_id: str, reference_id: str) -> Candidate:
    silent = (math.nan,) * 4
    return Candidate(query_id, reference_id, *silent, 0.0, "", "", 0)
