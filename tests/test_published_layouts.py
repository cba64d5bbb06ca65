"""DISC21, NDEC and Copydays as they are published: folders, files and figures computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from copydetect.pipelines.commands import evaluate

# DISC21 (ISC2021): dev_queries_groundtruth.csv, references in folders of 50,000, ids without
# extension, an empty reference for queries that are no copy; in the development release no header.
DISC21_TRUTH = "Q24789,R000010\nQ24790,R000020\nQ24791,\nQ24792,R000030\nQ24793,R000040\n"

# Q24792 is never answered. The pairs of score .8 tie: the challenge puts the wrong one first.
DISC21_PREDICTIONS = """query_id,reference_id,score
Q24789,refs_50k_0/R000010.jpg,0.9
Q24790,refs_50k_0/R000020.jpg,0.8
Q24790,refs_50k_0/R000099.jpg,0.8
Q24791,refs_50k_0/R000010.jpg,0.7
Q24793,refs_50k_1/R000041.jpg,0.6
Q24793,refs_50k_1/R000040.jpg,0.5
"""


def figures(tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, *flags: str):
    predictions = tmp_path / "predictions.csv"
    predictions.write_text(rows, encoding="utf-8")
    assert evaluate.main([str(predictions), "--truth", str(tmp_path / "set"), *flags]) == 0
    return json.loads(capsys.readouterr().out)


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def disc21(tmp_path: Path) -> Path:
    put(tmp_path / "set" / "dev_queries_groundtruth.csv", DISC21_TRUTH)
    put(tmp_path / "set" / "refs_50k_0" / "R000010.jpg")
    put(tmp_path / "set" / "dev_queries_50k_0" / "Q24789.jpg")
    return tmp_path


def test_disc21(disc21: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(disc21, capsys, DISC21_PREDICTIONS)
    # ranking: right, wrong, right, wrong, wrong, right; four copies, one never proposed
    assert found["micro_ap"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 6) / 4)
    assert found["recall_at_precision"]["0.9"] == {"recall": 0.25, "threshold": 0.9}
    # the tie pushes Q24790's copy to the second rank, Q24793's is second anyway
    assert found["recall_at_rank"] == {"1": 0.25, "10": 0.75, "50": 0.75}


def test_disc21_best_of_each_query(disc21: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of equal scores a stranger to the truth is kept first, as ties go to what is wrong."""
    found = figures(disc21, capsys, DISC21_PREDICTIONS, "--top_k", "1")
    # left: Q24789 right; Q24790, Q24791 and Q24793 wrong
    assert found["pairs"] == 4
    assert found["micro_ap"] == 0.25
    two = figures(disc21, capsys, DISC21_PREDICTIONS, "--top_k", "2")
    assert two["micro_ap"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 6) / 4)


def test_disc21_best_of_all(disc21: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(disc21, capsys, DISC21_PREDICTIONS, "--top_n", "3")
    assert found["pairs"] == 3
    assert found["micro_ap"] == pytest.approx((1 + 2 / 3) / 4)
    both = figures(disc21, capsys, DISC21_PREDICTIONS, "--top_k", "1", "--top_n", "1")
    assert (both["pairs"], both["micro_ap"]) == (1, 0.25)


def test_disc21_refuses_a_pair_that_is_predicted_twice(
    disc21: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(disc21 / "twice.csv", DISC21_PREDICTIONS + "Q24789,refs_50k_0/R000010.jpg,0.1\n")
    code = evaluate.main([str(disc21 / "twice.csv"), "--truth", str(disc21 / "set")])
    assert code == 2
    assert "are the same" in capsys.readouterr().err


def test_ndec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NDEC: public_ground_truth_h5.csv; a hard negative is a query with an empty reference."""
    truth = "query_id,reference_id\nQ00001,R000001\nQ00002,\nQ00003,R000003\nQ00003,R000004\n"
    put(tmp_path / "set" / "public_ground_truth_h5.csv", truth)
    put(tmp_path / "set" / "query_set" / "query_images_h5" / "Q00001.jpg")
    put(tmp_path / "set" / "reference_images" / "R000001.jpg")
    rows = """Q00002.jpg,reference_images/R000007.jpg,0.95
Q00001.jpg,reference_images/R000001.jpg,0.9
Q00003.jpg,reference_images/R000003.jpg,0.8
Q00003.jpg,reference_images/R000004.jpg,0.8
"""
    found = figures(tmp_path, capsys, rows)
    # the hard negative scores highest: wrong, right, right, right of three copies
    assert found["micro_ap"] == pytest.approx((1 / 2 + 2 / 3 + 3 / 4) / 3)
    assert found["recall_at_precision"]["0.9"] == {"recall": 0.0, "threshold": None}
    # Q00003's two copies tie: the official rank counts all that score at least as much
    assert found["recall_at_rank"] == {"1": pytest.approx(1 / 3), "10": 1.0, "50": 1.0}


def test_copydays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Copydays: mAP of each block by trapezoids, originals by the first four characters."""
    for name in (
        "original/200000.jpg",
        "original/200100.jpg",
        "strong/200001.jpg",
        "strong/200002.jpg",
        "strong/200101.jpg",
        "crops/80/200100.jpg",
        "jpegqual/3/200000.jpg",
    ):
        put(tmp_path / "set" / name)
    rows = """strong/200001.jpg,original/200000.jpg,0.9
strong/200002.jpg,original/200100.jpg,0.8
strong/200002.jpg,original/200000.jpg,0.8
crops/80/200100.jpg,original/200100.jpg,0.7
jpegqual/3/200000.jpg,distractors/1.jpg,0.6
jpegqual/3/200000.jpg,distractors/2.jpg,0.5
jpegqual/3/200000.jpg,original/200000.jpg,0.4
"""
    found = figures(tmp_path, capsys, rows)
    # a copy at place 2 of its query: (0 + 1/2) / 2, also where it ties with a stranger; at place
    # 3: (0 + 1/3) / 2; a query without an answer counts 0
    assert found["map"] == {
        "crops/80": 1.0,
        "jpegqual/3": pytest.approx(1 / 6),
        "strong": pytest.approx((1 + 1 / 4 + 0) / 3),
    }
    # in one ranking: right, wrong, right, right, wrong, wrong, right, of five
    assert found["micro_ap"] == pytest.approx((1 + 2 / 3 + 3 / 4 + 4 / 7) / 5)
