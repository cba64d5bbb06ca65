"""Matches of all parts → what other pairs say of each, and the matches that this changes.

`verify_part` sees the pairs of one part, and a crowd of near neighbours lies in many, as do a pair
and those of its images' copies. What they say of each other (`standings_of`) can be told only when
all are verified: here it is, for all parts together, by what the pixels have said (`proof`). So
results do not depend on how images are cut into parts. Where that turns a verdict round, the pair
is verified once more.
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
from copydetect.verification.priors import Standing
from copydetect.verification.proved_families import numbered
from copydetect.verification.standings import UNLIKELY, ComparedPairs, standings_of

_ENDS = ["query_id", "reference_id"]
NAMES = {Standing.ALONE: "alone", Standing.FAMILY: "families", Standing.DENIED: "denied"}
"""Folders of pairs that are verified again, by what other pairs say of them."""
_VERDICT = ("proof", "other_content", "is_copy", "relation")


class PartFiles(NamedTuple):
    """A part of the queries: its number, its candidates, their numbers, and its matches."""

    part: int
    candidates: str
    pairs: str
    matches: str


@dataclass(frozen=True)
class _Judged:
    """What other pairs say of some of one part: of crowded ones, and where they say anything.

    Row i of each belongs together.

    part: its number; candidates, matches: (n,) int64 rows of its two tables; standing: (n,) int64,
    `Standing` of each; confidence: (n,) float64, calibrated, by that; overturned: (n,) bool, where
    a copy is none by that or the other way round.
    """

    part: int
    candidates: npt.NDArray[np.int64]
    matches: npt.NDArray[np.int64]
    standing: Ints
    confidence: npt.NDArray[np.float64]
    overturned: npt.NDArray[np.bool_]


class _Compared(NamedTuple):
    """A verified pair: its part, the rows of its tables, and its verdict; counted: whether it is a
    copy by what it is, whatever the confidence."""

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
    standing: Standing,
) -> list[PartFiles]:
    """Write the pairs whose verdict others turn round, as parts of candidates.

    work: what was verified, by part; folder: for the files; standing: of the pairs that are wanted.
    They are to be verified again by options that say so.
    """
    judged = _judged(storage, work, options)
    return _overturned(storage, folder, judged, work, standing)


def judged_matches(
    storage: Storage, folder: str, work: Sequence[PartFiles], options: VerifyOptions
) -> dict[int, pa.Table]:
    """The matches of the parts that have such pairs, by number, as other pairs make them.

    The pairs of `overturned_pairs` are verified again by now: their matches are where it says.
    """
    judged = _judged(storage, work, options)
    return {
        one.part: _with_verdicts(
            tables.read_table(storage, work[one.part].matches),
            one,
            [
                tables.read_table(storage, _files_in(folder, name, one.part).matches)
                for standing, name in NAMES.items()
                if np.any(one.overturned & (one.standing == standing))
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
    near = zip(work, _depending(storage, work), strict=True)
    pairs = [pair for files, rows in near for pair in _compared(storage, files, rows, counted)]
    if not pairs:
        return []
    candidates = [pair.candidate for pair in pairs]
    compared = ComparedPairs(
        numbered([(one.query_id, one.reference_id) for one in candidates]),
        np.array([one.score for one in candidates], np.float64),
        np.array([one.crowded for one in candidates], np.bool_),
        np.array([pair.proof for pair in pairs], np.float64),
        np.array([pair.other_content for pair in pairs], np.float64),
    )
    least = options.matching.min_confidence
    standings, sure = standings_of(compared, least, options.calibration)
    copies = are_copies(sure, compared.other_content, least) | np.array(
        [pair.counted for pair in pairs], np.bool_
    )
    overturned = copies != np.array([pair.is_copy for pair in pairs], np.bool_)
    judged = zip(standings.tolist(), sure.tolist(), overturned.tolist(), strict=True)
    found: dict[int, list[tuple[int, int, int, float, bool]]] = {}
    for pair, said in zip(pairs, judged, strict=True):
        if pair.candidate.crowded or said[0] != Standing.ALONE:
            found.setdefault(pair.part, []).append((pair.row, pair.match, *said))
    return [
        _Judged(part, *(np.array(column) for column in zip(*rows, strict=True)))
        for part, rows in found.items()
    ]


def _depending(storage: Storage, work: Sequence[PartFiles]) -> list[Ints]:
    """By part, the rows of candidates that depend on each other.

    These are not spare, and both of their images are in crowded or doubtful pairs, or paired with
    those that are.
    """
    columns = [*_ENDS, "score", "crowded", "spare"]
    parts = [tables.read_table(storage, files.candidates, columns) for files in work]
    pairs = pa.concat_tables(parts) if parts else tables.CANDIDATES.empty_table()
    doubtful = [_doubtful(storage, *one) for one in zip(work, parts, strict=True)]
    seeds = _images_of(pa.concat_tables([pairs.filter(pairs["crowded"]).select(_ENDS), *doubtful]))
    beside = [pc.is_in(pairs[name], value_set=seeds) for name in _ENDS]
    near = _images_of(pairs.filter(pc.or_(*beside)))
    inside = [pc.and_(*(pc.is_in(part[name], value_set=near) for name in _ENDS)) for part in parts]
    wanted = [pc.and_not(one, part["spare"]) for one, part in zip(inside, parts, strict=True)]
    return [np.flatnonzero(one.to_numpy()) for one in wanted]


def _doubtful(storage: Storage, files: PartFiles, candidates: pa.Table) -> pa.Table:
    """The ends of a part's pairs that are copies by their pixels and strangers by the search."""
    unlikely = pc.less_equal(candidates["score"], UNLIKELY)
    if not pc.any(unlikely).as_py():
        return candidates.slice(0, 0).select(_ENDS)
    matches = tables.read_table(storage, files.matches, [*_ENDS, "score", "is_copy"])
    chosen = pc.and_(matches["is_copy"], pc.less_equal(matches["score"], UNLIKELY))
    return matches.filter(chosen).select(_ENDS)


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
    standing: Standing,
) -> list[PartFiles]:
    found = []
    for one in judged:
        rows = one.candidates[one.overturned & (one.standing == standing)]
        if len(rows):
            files = _files_in(folder, NAMES[standing], one.part)
            given = work[one.part]
            table = tables.read_table(storage, given.candidates).take(rows)
            write_pairs(storage, files.pairs, read_pairs(storage, given.pairs).take(rows))
            tables.write_table(storage, files.candidates, table)
            found.append(files)
    return found


def _with_verdicts(matches: pa.Table, judged: _Judged, again: Sequence[pa.Table]) -> pa.Table:
    """The matches of a part with the confidences that other pairs give, and the verdicts of the
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
