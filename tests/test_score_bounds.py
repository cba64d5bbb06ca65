"""Candidates from a score up are the same where only these are wanted, and made of fewer pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from copydetect.candidates import merging
from copydetect.candidates.fusion import CandidateOptions
from copydetect.candidates.score_bounds import may_reach_least_score
from tests.steps_in_turn import write_candidates
from tests.test_merging import Found, job_of, together


def _wanted(
    folder: Path, found: Found, channels: str, options: CandidateOptions
) -> list[tuple[float, str]]:
    """The candidates: the score of each, and all that is said of it, its points too."""
    folder.mkdir()
    job = job_of(folder, found, 3, symmetric=True)
    proposals = job.proposals
    if channels != "both":
        off = "neighbors" if channels == "local" else "votes"
        proposals = replace(proposals, **{off: ()})
    job = replace(job, options=options, proposals=proposals)
    table, pairs = together(job, write_candidates(job))
    points = [one.correspondences(row).tolist() for one in pairs for row in range(len(one.query))]
    rows = zip(table.to_pylist(), points, strict=True)
    return [(row["score"], repr((row, at))) for row, at in rows]


@pytest.mark.parametrize("channels", ["both", "descriptor", "local"])
@pytest.mark.parametrize("family", [0, 80])
def test_what_is_wanted_stays_as_it_is(
    tmp_path: Path, channels: str, family: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Found.with_a_family(family) if family else Found.random()
    options = CandidateOptions(k=4, connect_similarity=0.9 if family else float("inf"))
    rows: list[int] = []

    def counted(*arguments: object) -> object:
        kept = may_reach_least_score(*arguments)  # type: ignore[arg-type]
        rows.append(sum(len(one.records) for one in arguments[:2] if one))  # type: ignore[attr-defined]
        rows.append(-sum(len(one.records) for one in kept if one))
        return kept

    monkeypatch.setattr(merging, "may_reach_least_score", counted)
    # What is kept is chosen by the scores before those of crowds are lowered.
    monkeypatch.setattr(merging, "_CROWDED_AT_MOST", float("inf"))
    everything = _wanted(tmp_path / "all", found, channels, options)
    assert not rows
    scores = sorted(score for score, _ in everything)
    least = scores[len(scores) * 3 // 4]
    some = _wanted(tmp_path / "some", found, channels, replace(options, least_score=least))
    expected = [row for row in everything if row[0] >= least]
    assert [row for row in some if row[0] >= least] == expected
    assert len(expected) > 20
    before, after = sum(row for row in rows if row > 0), -sum(row for row in rows if row < 0)
    assert after < (before if family else 0.7 * before)
