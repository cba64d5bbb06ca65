"""Matches of all parts → which crowds are families, and what that changes in the matches.

`verify_part` sees the pairs of one part, and a crowd of near neighbours lies in many. Whether most
of its pairs are proved can be told only when all are verified: here it is told again, for all parts
together, by what the pixels have said (`proof`). So results do not depend on how images are cut
into parts. Where that turns a verdict round, the pair is verified once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from copydetect import runs, tables
from copydetect.candidates.pair_numbers import read_pairs, write_pairs
from copydetect.storage.files import Storage
from copydetect.types import Candidate
from copydetect.verification.match_parts import VerifyOptions
from copydetect.verification.proved_families import Prior, in_proved_families

_ENDS = ["query_id", "reference_id"]


class PartFiles(NamedTuple):
    """A part of the queries: its number, its candidates, their numbers, and its matches."""

    part: int
    candidates: str
    pairs: str
    matches: str


@dataclass(frozen=True)
class _Judged:
    """What families say of the crowded pairs of one part; row i of each belongs together.

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


class _Crowded(NamedTuple):
    """A crowded pair that was verified: its part, rows of its tables, what it was and is."""

    part: int
    row: int
    match: int
    candidate: Candidate
    proof: float
    is_copy: bool


def judge_families(
    storage: Storage,
    folder: str,
    work: Sequence[PartFiles],
    options: VerifyOptions,
    verify: Callable[[str, list[PartFiles], VerifyOptions], list[pa.Table]],
) -> dict[int, pa.Table]:
    """The matches of the parts that have crowded pairs, by number, as families make them.

    work: what was verified, by part; verify: verifies some candidates by other options, given a
    name for the work, and returns the matches of each part; folder: for files between.
    """
    judged = _judged(storage, work, options)
    again: dict[int, list[pa.Table]] = {one.part: [] for one in judged}
    for family in (False, True):
        name = "families" if family else "crowds"
        todo = _overturned(storage, runs.join(folder, name), judged, work, family)
        found = verify(name, todo, replace(options, family=family)) if todo else []
        for files, matches in zip(todo, found, strict=True):
            again[files.part].append(matches)
    return {
        one.part: _with_verdicts(
            tables.read_table(storage, work[one.part].matches), one, again[one.part]
        )
        for one in judged
    }


def _judged(storage: Storage, work: Sequence[PartFiles], options: VerifyOptions) -> list[_Judged]:
    pairs = [pair for files in work for pair in _crowded(storage, files)]
    least, calibration = options.matching.min_confidence, options.calibration
    proved = [
        pair.proof >= Prior.before_proof(pair.candidate).needed(least, calibration)
        for pair in pairs
    ]
    family = in_proved_families([pair.candidate for pair in pairs], proved)
    found: dict[int, list[tuple[int, int, bool, float, bool]]] = {}
    for pair, is_family in zip(pairs, family.tolist(), strict=True):
        prior = Prior.of(pair.candidate, is_family)
        is_copy = pair.proof >= prior.needed(least, calibration)
        judged = is_family, prior.confidence(pair.proof, calibration), is_copy != pair.is_copy
        found.setdefault(pair.part, []).append((pair.row, pair.match, *judged))
    return [
        _Judged(part, *(np.array(column) for column in zip(*rows, strict=True)))
        for part, rows in found.items()
    ]


def _crowded(storage: Storage, files: PartFiles) -> list[_Crowded]:
    table = tables.read_table(storage, files.candidates)
    crowded = np.flatnonzero(table["crowded"].to_numpy() & ~table["spare"].to_numpy())
    if not len(crowded):
        return []
    verified = tables.read_table(storage, files.matches, [*_ENDS, "proof", "is_copy"]).to_pylist()
    rows = {(row["query_id"], row["reference_id"]): n for n, row in enumerate(verified)}
    found = []
    for number, values in zip(crowded.tolist(), table.take(crowded).to_pylist(), strict=True):
        at = rows.get((values["query_id"], values["reference_id"]))
        # What was forced by `count`, or is not known, stays.
        if at is not None and verified[at]["proof"] is not None:
            said = verified[at]["proof"], verified[at]["is_copy"]
            found.append(_Crowded(files.part, number, at, Candidate.of_row(values), *said))
    return found


def _overturned(
    storage: Storage,
    folder: str,
    judged: Sequence[_Judged],
    work: Sequence[PartFiles],
    family: bool,
) -> list[PartFiles]:
    """Write the pairs whose verdict turns round, of families or not, as parts of candidates."""
    found = []
    for one in judged:
        rows = one.candidates[one.overturned & (one.family == family)]
        if len(rows):
            files = PartFiles(
                one.part,
                runs.join(folder, "candidates", runs.part_name(one.part)),
                runs.join(folder, "pairs", runs.part_name(one.part, "npz")),
                runs.join(folder, "matches", runs.part_name(one.part)),
            )
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
