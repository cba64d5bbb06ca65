"""`copydetect benchmark score`: that normalising is worth it on the sample."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from copydetect.pipelines.benchmarks.score import FORMS
from copydetect.pipelines.commands import benchmark

SAMPLE = Path(__file__).parents[1] / "sample_data"


def test_the_sample_is_ranked_better_when_normalised(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    photos, originals = SAMPLE / "photos", tmp_path / "originals"
    shutil.copytree(photos, originals, ignore=shutil.ignore_patterns("downloads"))
    arguments = ["--truth", str(SAMPLE / "ground_truth.csv"), "--references", str(originals)]
    arguments += ["--queries", str(photos / "downloads")]
    assert benchmark.main(["score", *arguments]) == 0
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert [row.split(" | ")[0] for row in rows[2:]] == [f"| {form}" for form in FORMS]
    figures = json.loads(printed[printed.index("{") :])
    raw, normalised = (figures[form] for form in ("cosine", "less both"))
    assert normalised["micro_ap"] > raw["micro_ap"]
    assert 0 < normalised["normalization"]["share_of_describe"] < 0.5


def test_old_vectors_searched_with_the_model_itself_cost_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    photos, originals = SAMPLE / "photos", tmp_path / "originals"
    shutil.copytree(photos, originals, ignore=shutil.ignore_patterns("downloads"))
    arguments = ["--truth", str(SAMPLE / "ground_truth.csv"), "--references", str(originals)]
    arguments += ["--queries", str(photos / "downloads"), "--model=descriptor-lite0"]
    assert benchmark.main(["compatible", *arguments]) == 0
    printed = capsys.readouterr().out
    figures = json.loads(printed[printed.index("{") :])
    assert figures.pop("said_to_be_compatible") is False
    (found,) = {values["micro_ap"] for values in figures.values()}
    assert len(figures) == 3
    assert found > 0.5


def test_references_go_with_pairs_only(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("image_id,group_id\na.jpg,1\nb.jpg,1\n")
    photos = str(SAMPLE / "photos")
    arguments = ["--truth", str(groups), "--queries", photos, "--references", photos]
    assert benchmark.main(["score", *arguments]) == 2
    assert "--references goes with a truth of pairs" in capsys.readouterr().err
