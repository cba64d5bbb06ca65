"""Matches of all parts → the crowds that are families of copies, and the matches that this changes.

`verify_part` sees the pairs of one part, and a crowd of near neighbours lies in many. Whether most
of its pairs are proved can be told only when all are verified: here it is told again, for all parts
together, by what the pixels have said (`proof`), and for the other pairs of its members. So results
do not depend on how images are cut into parts. Where that turns a verdict round, the pair is
verified once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.candidates.pair_numbers import read_pairs, write_pairs
from copydetect.storage.files import Storage
from copydetect.types import Candidate, Ints
from copydetect.verification.calibration import are_copies
from copydetect.verification.match_parts import VerifyOptions
from copydetect.verification.proved_families import (
    Priors,
    between_members,
    in_proved_families,
    numbered,
)

_ENDS = ["query_id", "reference_id"]
NAMES = {False: "crowds", True: "families"}
"""Folders of pairs that are verified again, by whether they are of a proved family."""
_VERDICT = ("proof", "other_content", "is_copy", "relation")


class PartFiles(NamedTuple):
    """A part of the queries: its number, its candidates, their numbers, and its matches."""

    part: int
    candidates: str
    pairs: str
    matches: str


@dataclass(frozen=True)
class _Judged:
    """What families say of pairs of one part, of crowded ones and of those between members.

    Row i of each belongs together.

    part: its number; candidates, matches: (n,) int64 rows of its two tables; family: (n,) bool,
    whether the pair is of a proved family; confidence: (n,) float64, calibrated, by that;
    overturned: (n,) bool, where a copy is none by that or the other way round.
    """

    part: int
    candidates: npt.NDArray[np.int64]
    matches: npt.NDArray[np.int64]
    family: npt.NDArray[np.bool_]
    confidence: npt.NDArray[np.float64]
    overturned: npt.NDArray[np.bool_]


class _Compared(NamedTuple):
    """A pair near crowds that was verified: its part, the rows of its tables, and its verdict;
    counted: whether it is a copy by what it is, whatever the confidence."""

    part: int
    row: int
    match: int
    candidate: Candidate
    proof: float
    other_content: float
    is_copy: bool
    counted: bool


def overturned_pairs(
    storage: Storage,
    folder: str,
    work: Sequence[PartFiles],
    options: VerifyOptions,
    family: bool,
) -> list[PartFiles]:
    """Write the pairs whose verdict families turn round, as parts of candidates.

    work: what was verified, by part; folder: for the files; family: whether pairs of proved
    families are wanted, or the others. They are to be verified again by options that say so.
    """
    judged = _judged(storage, work, options)
    return _overturned(storage, folder, judged, work, family)


def judged_matches(
    storage: Storage, folder: str, work: Sequence[PartFiles], options: VerifyOptions
) -> dict[int, pa.Table]:
    """The matches of the parts that have crowded pairs, by number, as families make them.

    The pairs of `overturned_pairs` are verified again by now: their matches are where it says.
    """
    judged = _judged(storage, work, options)
    return {
        one.part: _with_verdicts(
            tables.read_table(storage, work[one.part].matches),
            one,
            [
                tables.read_table(storage, _files_in(folder, name, one.part).matches)
                for family, name in NAMES.items()
                if np.any(one.overturned & (one.family == family))
            ],
        )
        for one in judged
    }


def _files_in(folder: str, name: str, part: int) -> PartFiles:
    """Where the pairs of a part are that are verified again, and their matches."""
    return PartFiles(
        part,
        runs.join(folder, name, "candidates", runs.part_name(part)),
        runs.join(folder, name, "pairs", runs.part_name(part, "npz")),
        runs.join(folder, name, "matches", runs.part_name(part)),
    )


def _judged(storage: Storage, work: Sequence[PartFiles], options: VerifyOptions) -> list[_Judged]:
    counted = options.matching.counted
    near = zip(work, _near_crowds(storage, work), strict=True)
    pairs = [pair for files, rows in near for pair in _compared(storage, files, rows, counted)]
    if not pairs:
        return []
    candidates = [pair.candidate for pair in pairs]
    scores = np.array([one.score for one in candidates], np.float32)
    crowded = np.array([one.crowded for one in candidates], np.bool_)
    pixels = (
        np.array([pair.proof for pair in pairs], np.float64),
        np.array([pair.other_content for pair in pairs], np.float64),
    )
    least, calibration = options.matching.min_confidence, options.calibration
    sure = Priors.of(scores, crowded).confidences(*pixels, calibration)
    family = in_proved_families(candidates, sure, least)
    sure = Priors.of(scores, crowded, family).confidences(*pixels, calibration)
    ids = [(pair.candidate.query_id, pair.candidate.reference_id) for pair in pairs]
    family |= between_members(numbered(ids), family, sure >= least)
    sure = Priors.of(scores, crowded, family).confidences(*pixels, calibration)
    copies = are_copies(sure, pixels[1], least) | np.array(
        [pair.counted for pair in pairs], np.bool_
    )
    overturned = copies != np.array([pair.is_copy for pair in pairs], np.bool_)
    judged = zip(family.tolist(), sure.tolist(), overturned.tolist(), strict=True)
    found: dict[int, list[tuple[int, int, bool, float, bool]]] = {}
    for pair, said in zip(pairs, judged, strict=True):
        if pair.candidate.crowded or said[0]:
            found.setdefault(pair.part, []).append((pair.row, pair.match, *said))
    return [
        _Judged(part, *(np.array(column) for column in zip(*rows, strict=True)))
        for part, rows in found.items()
    ]


def _near_crowds(storage: Storage, work: Sequence[PartFiles]) -> list[Ints]:
    """By part, the candidates that are not spare and whose images are both in crowded pairs, or
    paired with those that are: their rows."""
    columns = [*_ENDS, "crowded", "spare"]
    parts = [tables.read_table(storage, files.candidates, columns) for files in work]
    pairs = pa.concat_tables(parts) if parts else tables.CANDIDATES.empty_table()
    crowds = _images_of(pairs.filter(pairs["crowded"]))
    beside = [pc.is_in(pairs[name], value_set=crowds) for name in _ENDS]
    near = _images_of(pairs.filter(pc.or_(*beside)))
    inside = [pc.and_(*(pc.is_in(part[name], value_set=near) for name in _ENDS)) for part in parts]
    wanted = [pc.and_not(one, part["spare"]) for one, part in zip(inside, parts, strict=True)]
    return [np.flatnonzero(one.to_numpy()) for one in wanted]


def _images_of(pairs: pa.Table) -> pa.Array:
    return pc.unique(
        pa.chunked_array([c for name in _ENDS for c in pairs[name].chunks], pa.string())
    )


def _compared(
    storage: Storage, files: PartFiles, rows: Ints, counted: Sequence[str]
) -> list[_Compared]:
    """The verified pairs among some candidates of a part. rows: theirs."""
    if not len(rows):
        return []
    candidates = tables.read_table(storage, files.candidates).take(rows).to_pylist()
    verified = tables.read_table(storage, files.matches, [*_ENDS, *_VERDICT]).to_pylist()
    places = {(row["query_id"], row["reference_id"]): n for n, row in enumerate(verified)}
    found = []
    for number, values in zip(rows.tolist(), candidates, strict=True):
        at = places.get((values["query_id"], values["reference_id"]))
        if at is not None and verified[at]["proof"] is not None:
            said = verified[at]
            pixels = said["proof"], said["other_content"] or 0.0
            verdict = said["is_copy"], said["relation"] in counted
            candidate = Candidate.of_row(values)
            found.append(_Compared(files.part, number, at, candidate, *pixels, *verdict))
    return found


def _overturned(
    storage: Storage,
    folder: str,
    judged: Sequence[_Judged],
    work: Sequence[PartFiles],
    family: bool,
) -> list[PartFiles]:
    found = []
    for one in judged:
        rows = one.candidates[one.overturned & (one.family == family)]
        if len(rows):
            files = _files_in(folder, NAMES[family], one.part)
            given = work[one.part]
            table = tables.read_table(storage, given.candidates).take(rows)
            write_pairs(storage, files.pairs, read_pairs(storage, given.pairs).take(rows))
            tables.write_table(storage, files.candidates, table)
            found.append(files)
    return found


def _with_verdicts(matches: pa.Table, judged: _Judged, again: Sequence[pa.Table]) -> pa.Table:
    """The matches of a part with the confidences that families give, and the verdicts of the
    pairs that were verified `again`; rows in their order."""
    confidence = np.array(matches["confidence"].to_numpy())
    confidence[judged.matches] = judged.confidence
    at = matches.schema.get_field_index("confidence")
    matches = matches.set_column(at, matches.schema.field(at), pa.array(confidence, pa.float32()))
    anew = pa.concat_tables([tables.MATCHES.empty_table(), *again])
    rows = {ends: n for n, ends in enumerate(_ends(matches))}
    order = np.arange(len(matches))
    for number, ends in enumerate(_ends(anew)):
        order[rows[ends]] = len(matches) + number
    return pa.concat_tables([matches, anew]).take(order)


def _ends(matches: pa.Table) -> list[tuple[str, str]]:
    return list(zip(*(matches[name].to_pylist() for name in _ENDS), strict=True))
