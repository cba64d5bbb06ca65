"""Ground truths: every layout, and clear refusals of what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from copydetect.errors import InputError
from copydetect.evaluation.ground_truth import (
    GroupTruth,
    PairTruth,
    match_ids,
    read_predictions,
    read_truth,
)
from copydetect.storage.files import LocalStorage

BENCH = Path(__file__).parents[1] / ".." / "shared" / "bench"
STORAGE = LocalStorage()


def written(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


PAIRS = "query_id,reference_id\nQ1,R7\nQ2,\nQ3,R8\nQ3,R9\n"


@pytest.mark.parametrize("text", [PAIRS, PAIRS.split("\n", 1)[1], "\ufeff" + PAIRS])
def test_pairs_with_and_without_a_header(tmp_path, text):
    truth = read_truth(STORAGE, written(tmp_path / "dev_ground_truth.csv", text))
    assert isinstance(truth, PairTruth)
    assert truth.pairs == [("Q1", "R7"), ("Q3", "R8"), ("Q3", "R9")]
    assert truth.queries == ["Q1", "Q2", "Q3"]


@pytest.mark.parametrize(
    "name", ["dev_ground_truth.csv", "public_ground_truth_h5.csv", "ground_truth.csv"]
)
def test_a_folder_stands_for_its_truth(tmp_path, name):
    written(tmp_path / name, PAIRS)
    written(tmp_path / "edits.csv", "query_id,reference_id,source,edits\nQ1,R7,food,crop+blur\n")
    written(tmp_path / "queries" / "Q1.jpg", "")
    truth = read_truth(STORAGE, str(tmp_path))
    assert isinstance(truth, PairTruth)
    assert (truth.edits, truth.sources) == ({"Q1": ["blur", "crop"]}, {"Q1": "food"})


def test_groups(tmp_path):
    text = "image_id,group_id,original,edits\na,g,1,\nb,g,0,crop\nc,h,1,\n"
    truth = read_truth(STORAGE, written(tmp_path / "groups.csv", text))
    assert isinstance(truth, GroupTruth)
    assert truth.group_of == {"a": "g", "b": "g", "c": "h"}
    assert truth.originals == {"a", "c"}
    assert truth.edits["b"] == ["crop"]


def test_copydays(tmp_path):
    for name in (
        "original/200000.jpg",
        "original/200100.jpg",
        "strong/200001.jpg",
        "jpegqual/3/200100.jpg",
        "crops/80/200000.jpg",
    ):
        written(tmp_path / name, "")
    truth = read_truth(STORAGE, str(tmp_path))
    assert isinstance(truth, PairTruth)
    assert set(truth.pairs) == {
        ("crops/80/200000.jpg", "original/200000.jpg"),
        ("jpegqual/3/200100.jpg", "original/200100.jpg"),
        ("strong/200001.jpg", "original/200000.jpg"),
    }
    assert truth.blocks["crops/80/200000.jpg"] == "crops/80"


def test_pairs_of_one_pile_become_groups():
    truth = GroupTruth.of_pairs(PairTruth([("b", "a"), ("c", "a"), ("e", "d")], list("bcef")))
    groups = truth.group_of
    assert groups["a"] == groups["b"] == groups["c"] != groups["d"] == groups["e"]
    assert len({groups[image_id] for image_id in "adf"}) == 3
    assert truth.originals == {"a", "d", "f"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("uri,image_id,width\n", "is not a ground truth: its columns are uri, image_id, width"),
        ("query_id,reference_id\nQ1,\n", "names no copy"),
        ("query_id,reference_id\nQ1,R1\nQ1,R1\n", "a pair twice"),
        ("query_id,reference_id\nQ1\n", "row 1 is not query_id, reference_id"),
        ("image_id,group_id\na,g\na,g\n", "image_id twice"),
        ("image_id,group_id\na,g\nb,h\n", "every image has a group of its own"),
        ("name,group_id\na,g\n", "no image_id"),
    ],
)
def test_what_is_no_truth_is_named(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        read_truth(STORAGE, written(tmp_path / "truth.csv", text))


def test_no_file_binary_file_and_ambiguous_folder(tmp_path):
    with pytest.raises(InputError, match="there is no ground truth at"):
        read_truth(STORAGE, str(tmp_path / "absent.csv"))
    (tmp_path / "image.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00")
    with pytest.raises(InputError, match="is not a CSV"):
        read_truth(STORAGE, str(tmp_path / "image.jpg"))
    with pytest.raises(InputError, match="it has none"):
        read_truth(STORAGE, str(tmp_path))
    written(tmp_path / "dev_ground_truth.csv", PAIRS)
    written(tmp_path / "test_ground_truth.csv", PAIRS)
    with pytest.raises(InputError, match="several"):
        read_truth(STORAGE, str(tmp_path))


def test_predictions(tmp_path):
    header = written(tmp_path / "a.csv", "query_id,reference_id,score\nQ1,R1,0.5\n")
    bare = written(tmp_path / "b.csv", "Q1,R1,0.5\n")
    assert read_predictions(STORAGE, header) == (["Q1"], ["R1"], [0.5])
    assert read_predictions(STORAGE, bare) == (["Q1"], ["R1"], [0.5])
    with pytest.raises(InputError, match="row 1 is not a prediction"):
        read_predictions(STORAGE, written(tmp_path / "c.csv", "Q1,R1,high\n"))


class TestMatchIds:
    def test_the_extension_may_lack_on_either_side(self):
        assert match_ids(["Q1"], ["Q1.jpg", "Q2.jpg"], "query") == {"Q1.jpg": "Q1"}
        assert match_ids(["Q1.jpg"], ["Q1"], "query") == {"Q1": "Q1.jpg"}

    def test_the_folder_may_differ(self):
        found = match_ids(["original/200000.jpg"], ["200000.jpg"], "reference")
        assert found == {"200000.jpg": "original/200000.jpg"}

    def test_exact_ids_are_not_confused(self):
        ids = ["a/x.jpg", "b/x.jpg", "b/x.png"]
        assert match_ids(ids, ids, "image") == {image_id: image_id for image_id in ids}

    def test_a_number_is_no_extension(self):
        assert match_ids(["v1.25"], ["v1.25"], "image") == {"v1.25": "v1.25"}
        with pytest.raises(InputError):
            match_ids(["v1.25"], ["v1.26"], "image")

    def test_nothing_in_common_is_said(self):
        with pytest.raises(InputError, match=r"the run has 'x\.jpg', the truth 'Q1'"):
            match_ids(["Q1"], ["x.jpg"], "query")


@pytest.mark.skipif(not BENCH.exists(), reason="the development benchmarks are not here")
def test_the_development_benchmarks():
    pairs = read_truth(STORAGE, str(BENCH / "dev"))
    groups = read_truth(STORAGE, str(BENCH / "dev-dedup"))
    assert isinstance(pairs, PairTruth)
    assert isinstance(groups, GroupTruth)
    assert (len(pairs.queries), len(pairs.pairs)) == (920, 560)
    assert len(groups.group_of) == 1221
    assert "crop" in {kind for kinds in pairs.edits.values() for kind in kinds}
