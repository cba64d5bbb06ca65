"""`copydetect benchmark effort` on a few planted copies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from copydetect.pipelines.commands import benchmark
from tests.conftest import EDITS, ONE_WORKER, Planted


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    rows = [f"{name},{original}" for name, (original, _) in EDITS.items()]
    path = tmp_path / "ground_truth.csv"
    path.write_text("\n".join(["query_id,reference_id", *rows, "copies/the same bytes.jpg,3.jpg"]))
    kinds = [f"{name},{type(edits[0]).__name__}" for name, (_, edits) in EDITS.items()]
    (tmp_path / "edits.csv").write_text("\n".join(["query_id,edits", *kinds]))
    return path


def test_fast_finds_planted_copies(
    planted: Planted, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queries, references = tmp_path / "queries.csv", tmp_path / "references.csv"
    copies = [name for name in planted.names if "copies" in name]
    for manifest, names in ((queries, copies), (references, [f"{n}.jpg" for n in range(6)])):
        rows = [f"{planted.folder / name},{name}" for name in names]
        manifest.write_text("\n".join(["uri,image_id", *rows]))
    arguments = ["--queries", str(queries), "--references", str(references), "--truth", str(truth)]
    assert benchmark.main(["effort", *arguments, "--efforts", "fast", ONE_WORKER[0]]) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed[printed.index("\n[") :])
    assert [(one["effort"], one["channels"]) for one in found] == [("fast", "local")]
    assert found[0]["figures"]["recall_at_rank"]["1"] >= 0.8
    assert found[0]["cpu_msec"] > 0
    assert "| recall@1 by edit | copies | fast local |" in printed


def test_further_references_are_counted_and_found_around(
    planted: Planted, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for manifest, numbers in (("references", range(6)), ("others", range(6, 8))):
        rows = [f"{planted.folder / f'{n}.jpg'},{n}.jpg" for n in numbers]
        (tmp_path / f"{manifest}.csv").write_text("\n".join(["uri,image_id", *rows]))
    queries = tmp_path / "queries.csv"
    copy = next(name for name in planted.names if "copies" in name)
    queries.write_text(f"uri,image_id\n{planted.folder / copy},{copy}")
    arguments = ["--queries", str(queries), "--references", str(tmp_path / "references.csv")]
    arguments += ["--others", str(tmp_path / "others.csv"), "--truth", str(truth)]
    arguments += ["--efforts", "standard", "--channels", "descriptor", ONE_WORKER[0]]
    assert benchmark.main(["effort", *arguments]) == 0
    printed = capsys.readouterr().out
    (found,) = json.loads(printed[printed.index("\n[") :])
    assert found["channels"] == "descriptor"
    assert found["images"] == 1 + 6 + 2


def test_an_unknown_effort_is_refused(
    planted: Planted, truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(planted.folder)
    arguments = ["--queries", folder, "--references", folder, "--truth", str(truth)]
    assert benchmark.main(["effort", *arguments, "--efforts", "lazy"]) == 2
    assert "effort is 'lazy'; choose from fast, standard, thorough" in capsys.readouterr().err
