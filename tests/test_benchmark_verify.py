"""What each part of the evidence is worth, where that is known; and a small run to its end."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from copydetect.evaluation.ground_truth import PairTruth
from copydetect.pipelines.benchmarks import verify
from copydetect.pipelines.benchmarks.verify import (
    DETAIL,
    SCORES,
    SHAPE,
    VARIANTS,
    Collected,
    Variant,
)
from copydetect.pipelines.commands import benchmark
from copydetect.verification.evidence import NAMES
from tests.scenes import scene


def collected(count: int) -> list[Collected]:
    """Pairs of which every other is a copy, and only `agree_weighted` tells; all else is noise."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        evidence = rng.uniform(0, 1, (1, len(NAMES))).astype(np.float32)
        evidence[0, NAMES.index("agree_weighted")] = i % 2
        scores = rng.uniform(0, 1, len(SCORES)).astype(np.float32)
        rows.append(Collected(f"q{i}", f"r{i}", evidence, scores))
    return rows


def truth(count: int) -> PairTruth:
    """Queries 1, 3, 5, … are copies."""
    pairs = [(f"q{i}", f"r{i}") for i in range(1, count, 2)]
    return PairTruth(pairs, [f"q{i}" for i in range(count)])


@pytest.mark.parametrize(("without", "low", "high"), [((), 0.99, 1), (("agree_weighted",), 0, 0.7)])
def test_a_part_is_worth_what_it_alone_tells(
    without: tuple[str, ...], low: float, high: float
) -> None:
    figures = verify._judged(Variant("planted", without), collected(200), truth(200))
    assert low <= figures["micro_ap"] <= high


def test_the_variants_name_evidence_that_exists() -> None:
    known = {*NAMES, *SCORES}
    assert {name for variant in VARIANTS for name in variant.without} <= known
    assert {*DETAIL, *SHAPE} <= set(verify.PIXELS)


def test_a_small_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "VARIANTS", VARIANTS[:2])
    for folder in ("queries", "references"):
        (tmp_path / folder).mkdir()
    with (tmp_path / "truth.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["query_id", "reference_id"])
        for i in range(10):
            picture = scene(i, 200, 150)
            cv2.imwrite(str(tmp_path / "references" / f"{i}.png"), picture)
            shown = picture[10:130, 20:180] if i < 7 else scene(50 + i, 160, 120)
            cv2.imwrite(str(tmp_path / "queries" / f"{i}.png"), shown)
            rows.writerow([f"{i}.png", f"{i}.png" if i < 7 else ""])
    arguments = [f"--{name}={tmp_path / name}" for name in ("queries", "references")]
    code = benchmark.main(
        ["verify", *arguments, f"--truth={tmp_path / 'truth.csv'}", "--verify_score=-99"]
    )
    table, _, rest = capsys.readouterr().out.partition("\n{")
    assert code == 0
    assert table.count("\n") == 2 + 4
    figures = json.loads("{" + rest)
    assert figures["pairs_per_second"] > 0
    assert figures["matches"]["micro_ap"] > 0.9
    assert figures["transforms"]["error_below_0.03"] >= 0.9
