"""`copydetect evaluate` as a user runs it."""

from __future__ import annotations

import json
import math

import pyarrow as pa
import pytest

from copydetect import tables
from copydetect.pipelines.commands import evaluate
from copydetect.runs import Manifest
from copydetect.storage.files import LocalStorage

TRUTH = "query_id,reference_id\nQ1,R1\nQ2,R2\nQ3,\n"


def table_of(name, rows):
    """Rows of a table of which only some columns matter."""
    schema = tables.SCHEMAS[name]
    defaults = {
        pa.string(): "",
        pa.int32(): 0,
        pa.float32(): math.nan,
        pa.bool_(): False,
    }
    full = [
        {
            field.name: row.get(
                field.name, defaults.get(field.type, []) if not field.nullable else None
            )
            for field in schema
        }
        for row in rows
    ]
    return pa.Table.from_pylist(full, schema=schema)


def run_folder(tmp_path, command, **rows_of):
    """A finished run that holds these tables."""
    storage, uris, counts = LocalStorage(), {}, {}
    for name, rows in rows_of.items():
        uri = f"run-1/{name}/part-00000.parquet"
        tables.write_table(storage, str(tmp_path / uri), table_of(name, rows))
        uris[name], counts[name] = [uri], len(rows)
    Manifest(command, "run-1", {}, uris, counts, {}).commit(storage, str(tmp_path))
    return str(tmp_path)


def match_row(query, reference, confidence):
    return {
        "query_id": query,
        "reference_id": reference,
        "score": confidence,
        "confidence": confidence,
        "is_copy": confidence >= 0.5,
    }


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "ground_truth.csv"
    path.write_text(TRUTH)
    return str(path)


def printed(capsys, *argv):
    assert evaluate.main(list(argv)) == 0
    return json.loads(capsys.readouterr().out)


def test_predictions(tmp_path, truth, capsys):
    predictions = tmp_path / "predictions.csv"
    predictions.write_text("Q1.jpg,R1.jpg,0.9\nQ3.jpg,R1.jpg,0.5\n")
    figures = printed(capsys, str(predictions), "--truth", truth)
    assert figures["micro_ap"] == 0.5
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ground_truth.csv",
        "predictions.csv",
    ]
    folder = tmp_path / "evaluation"
    printed(capsys, str(predictions), "--truth", truth, "--output", str(folder))
    assert sorted(path.name for path in folder.iterdir()) == [
        "evaluation.json",
        "precision_recall.svg",
    ]


def test_a_run_of_match(tmp_path, truth, capsys):
    out = run_folder(
        tmp_path / "out",
        "match",
        images=[
            {"image_id": "Q1.jpg", "role": "query"},
            {"image_id": "Q2.jpg", "role": "query", "duplicate_of": "Q1.jpg"},
            {"image_id": "R1.jpg", "role": "reference"},
        ],
        candidates=[{"query_id": "Q1.jpg", "reference_id": "R1.jpg", "score": 0.4, "rank": 0}],
        matches=[match_row("Q1.jpg", "R1.jpg", 0.9), match_row("Q3.jpg", "R1.jpg", 0.6)],
    )
    figures = printed(capsys, out, "--truth", truth)
    assert figures["candidates"]["pairs"] == 2, "the repeat of a query is judged like it"
    accepted = figures["matches"]["accepted"]
    assert accepted == {"pairs": 2, "precision": 0.5, "recall": 0.5, "false_alarms": 1.0}
    expected = (0.1 + 0.6) / 2
    assert figures["matches"]["expected_calibration_error"] == pytest.approx(expected, abs=1e-6)
    assert (tmp_path / "out" / "evaluation" / "reliability.svg").exists()


def test_a_run_of_dedup_with_pairs_and_with_groups(tmp_path, capsys):
    out = run_folder(
        tmp_path / "out",
        "dedup",
        images=[
            *({"image_id": f"{name}.png", "role": "image"} for name in "abx"),
            {"image_id": "c.png", "role": "image", "duplicate_of": "b.png"},
        ],
        candidates=[{"query_id": "a.png", "reference_id": "b.png", "score": 0.4, "rank": 0}],
        matches=[match_row("b.png", "a.png", 0.9)],
        groups=[
            {"group_id": "g", "image_id": f"{name}.png", "keep": name == "a", "reason": ""}
            for name in "abc"
        ],
    )
    pairs = tmp_path / "ground_truth.csv"
    pairs.write_text("query_id,reference_id\nb,a\nc,a\nx,\n")
    groups = tmp_path / "groups.csv"
    groups.write_text("image_id,group_id,original\na,1,1\nb,1,0\nc,1,0\nx,2,1\n")
    for truth_file in (pairs, groups):
        figures = printed(capsys, out, "--truth", str(truth_file))
        assert figures["candidates"]["micro_ap"] == 1.0
        assert figures["matches"]["recall_at_rank"]["1"] == 1.0
        assert figures["groups"]["b_cubed"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}


def test_bad_arguments(tmp_path, truth, capsys):
    assert evaluate.main([str(tmp_path), "--truth", truth]) == 2
    assert "holds no finished run" in capsys.readouterr().err
    assert evaluate.main([str(tmp_path), "--truth", truth, "--colour", "red"]) == 2
    assert evaluate.main([str(tmp_path), "--truth", str(tmp_path / "none.csv")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("copydetect: there is no")
    assert evaluate.main([]) == 2
    assert evaluate.main(["--help"]) == 0
    assert evaluate.main([str(tmp_path), "--truth", truth, "--top_k", "0"]) == 2


def test_groups_are_no_truth_of_a_match(tmp_path, capsys):
    out = run_folder(tmp_path / "out", "match", images=[], candidates=[], matches=[])
    groups = tmp_path / "groups.csv"
    groups.write_text("image_id,group_id\na,1\nb,1\n")
    assert evaluate.main([out, "--truth", str(groups)]) == 2
    assert "groups are of one pile" in capsys.readouterr().err
