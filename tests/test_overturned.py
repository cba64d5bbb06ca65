"""Whether a crowd is a family, and two look-alikes are none, is told by all parts together."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from copydetect import tables
from copydetect.candidates.pair_numbers import PairNumbers, read_pairs, write_pairs
from copydetect.types import Candidate
from copydetect.verification.match_parts import VerifyOptions
from copydetect.verification.matches import MatchOptions
from copydetect.verification.overturned import (
    PartFiles,
    judged_matches,
    overturned_pairs,
)
from copydetect.verification.priors import Standing
from tests.conftest import STORAGE
from tests.group_tables import matches_table

OPTIONS = VerifyOptions(matching=MatchOptions(min_confidence=0.9))
PAIRS = list(combinations(range(10), 2))


def proofs(others: int, proof: float = 0.85) -> dict[tuple[int, int], float]:
    """What pixels say of all pairs: copies, but for those of the last images."""
    return {pair: proof if pair[0] >= 10 - others else 0.99 for pair in PAIRS}


def parts(
    folder: Path, said: dict[tuple[int, int], float], bounds: list[int], score: float | None = None
) -> list[PartFiles]:
    """The tables of verified parts, each of the pairs of some images with later ones.

    score: of pairs in no crowd; None for crowded ones.
    """
    found = []
    for part, images in enumerate(np.split(np.arange(10), bounds)):
        mine = [pair for pair in PAIRS if pair[0] in images]
        files = PartFiles(part, *(str(folder / f"{name}-{part}") for name in ("c", "p", "m")))
        no = math.nan
        told = 1.0 if score is None else score, "", "", 1, score is None
        rows = [Candidate(f"{a}", f"{b}", no, no, no, no, *told) for a, b in mine]
        tables.write_table(STORAGE, files.candidates, tables.rows_to_table(rows, tables.CANDIDATES))
        ends = np.array(mine, np.int64).reshape(-1, 2).T
        points = np.repeat(np.float32(ends[1]), 4).reshape(-1, 4)
        write_pairs(STORAGE, files.pairs, PairNumbers(*ends, np.arange(len(mine) + 1), points))
        table = matches_table([(f"{a}", f"{b}", said[a, b]) for a, b in mine])
        proof = [said[pair] for pair in mine]
        columns = {
            "score": pa.array(np.full(len(mine), told[0], np.float32)),
            "proof": pa.array(proof),
            "other_content": pa.array(np.where(np.array(proof) < 0.5, 0.8, 0.0)),
            "is_copy": pa.array(np.array(proof) >= 0.9),
        }
        for name, values in columns.items():
            at = table.schema.get_field_index(name)
            table = table.set_column(at, table.schema.field(at), values)
        tables.write_table(STORAGE, files.matches, table)
        found.append(files)
    return found


def judged(
    folder: Path, work: list[PartFiles], crowded: bool = True
) -> tuple[pa.Table, list[tuple[Standing, int]]]:
    """The matches that other pairs have a say in, and which pairs were verified again: how, and how
    many. crowded: whether all pairs are, so that it is a say in every part."""
    asked = []
    scratch = str(folder / "scratch")
    for standing in Standing:
        for files in overturned_pairs(STORAGE, scratch, work, OPTIONS, standing):
            rows = tables.read_table(STORAGE, files.candidates).to_pylist()
            numbers = read_pairs(STORAGE, files.pairs)
            assert [int(row["reference_id"]) for row in rows] == numbers.reference.tolist()
            assert numbers.points[:, 0].tolist() == numbers.reference.tolist()
            asked.append((standing, len(rows)))
            pairs = [(row["query_id"], row["reference_id"], 0.92) for row in rows]
            tables.write_table(STORAGE, files.matches, matches_table(pairs))
    again = judged_matches(STORAGE, scratch, work, OPTIONS)
    assert not crowded or sorted(again) == [files.part for files in work]
    found = [again[number] for number in sorted(again)]
    return pa.concat_tables([tables.MATCHES.empty_table(), *found]), asked


@pytest.mark.parametrize("bounds", [[], [1, 7], [7]])
def test_the_pairs_of_a_family_are_judged_alike_in_any_part(
    tmp_path: Path, bounds: list[int]
) -> None:
    """Of the pairs of the last three images, which are a part of their own, none is proved."""
    table, asked = judged(tmp_path, parts(tmp_path, proofs(3), bounds))
    rows = table.to_pylist()
    assert len(rows) == len(PAIRS)
    ends = [(int(row["query_id"]), int(row["reference_id"])) for row in rows]
    assert ends == PAIRS
    assert all(row["is_copy"] for row in rows)
    assert asked == [(Standing.FAMILY, 3)]
    assert rows[0]["confidence"] == pytest.approx(2 * 0.99 / 1.99)


def test_a_crowd_of_look_alikes_stays_one(tmp_path: Path) -> None:
    table, asked = judged(tmp_path, parts(tmp_path, proofs(8, 0.2), [7]))
    assert sum(table["is_copy"].to_pylist()) == 17
    assert not asked


def test_what_only_its_own_part_took_for_a_family_is_verified_again(tmp_path: Path) -> None:
    said = proofs(8, 0.2)
    work = parts(tmp_path, said, [7])
    table = tables.read_table(STORAGE, work[1].matches)
    at = table.schema.get_field_index("is_copy")
    forced = table.set_column(at, table.schema.field(at), pa.array([True] * len(table)))
    tables.write_table(STORAGE, work[1].matches, forced)
    _, asked = judged(tmp_path, work)
    assert asked == [(Standing.ALONE, 3)]


def test_matches_of_parts_apart_from_crowds_are_not_read(tmp_path: Path) -> None:
    work = parts(tmp_path, proofs(3), [])
    apart = PartFiles(1, str(tmp_path / "c-1"), str(tmp_path / "p-1"), str(tmp_path / "missing"))
    no = math.nan
    rows = [Candidate("20", "21", no, no, no, no, 1.0, "", "", 1)]
    tables.write_table(STORAGE, apart.candidates, tables.rows_to_table(rows, tables.CANDIDATES))
    asked = overturned_pairs(
        STORAGE, str(tmp_path / "scratch"), [*work, apart], OPTIONS, Standing.FAMILY
    )
    assert [files.part for files in asked] == [0]


@pytest.mark.parametrize("bounds", [[], [1], [2, 3]])
def test_a_pair_that_copies_in_other_parts_deny_is_verified_again(
    tmp_path: Path, bounds: list[int]
) -> None:
    """Of two pictures, each with a copy, two copies pass for one another."""
    said = dict.fromkeys(PAIRS, 0.1) | {(0, 1): 0.99, (2, 3): 0.99, (1, 3): 0.93}
    _, asked = judged(tmp_path, parts(tmp_path, said, bounds, score=-5.0), crowded=False)
    assert asked == [(Standing.DENIED, 1)]
    _, asked = judged(tmp_path, parts(tmp_path, said, bounds, score=-1.0), crowded=False)
    assert asked == []
