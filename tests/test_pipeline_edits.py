"""`copydetect edits` from the command line: the direct composition is its oracle."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from copydetect.edits.copies import CopyOptions, copies_of, jpeg
from copydetect.evaluation.ground_truth import PairTruth, read_truth
from copydetect.pipelines.commands.edits import main
from copydetect.storage.files import LocalStorage

LOCAL = ["--quiet", "--direct_num_workers=1"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((10, 10, 1))).astype(np.uint8)
        (folder / "more" / f"{number}.jpg").write_bytes(jpeg(pixels))
    (folder / "again.jpg").write_bytes((folder / "more" / "0.jpg").read_bytes())
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(output: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(output)): file.read_bytes()
        for file in output.rglob("*")
        if file.is_file()
    }


def test_it_writes_what_the_pure_function_makes(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert main([str(photos), "--output", str(output), "--copies=2", "--seed=5", *LOCAL]) == 0
    expected = {}
    for file in [photos / "again.jpg", *sorted((photos / "more").glob("[1-5].jpg"))]:
        image_id = str(file.relative_to(photos))
        for copy in copies_of(image_id, file.read_bytes(), CopyOptions(2, 5)):
            expected[f"images/{copy.query_id}"] = copy.data
    found = written(output)
    assert {name: found[name] for name in found if name.startswith("images/")} == expected
    others = {name for name in found if not name.startswith(("images/", ".copydetect/"))}
    assert others == {"ground_truth.csv", "edits.csv", "failures.csv"}


def test_its_ground_truth_names_each_copy_and_every_file_it_is_a_copy_of(
    photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    assert main([str(photos), "--output", str(output), *LOCAL]) == 0
    truth = read_truth(LocalStorage(), str(output / "ground_truth.csv"))
    assert isinstance(truth, PairTruth)
    assert len(truth.queries) == 6
    assert {r for q, r in truth.pairs if q == "again.jpg.0.jpg"} == {"again.jpg", "more/0.jpg"}
    assert all(truth.edits[query] for query in truth.queries)
    for row in rows(output / "edits.csv"):
        assert (row["query_id"], row["reference_id"]) in truth.pairs
        assert len(row["transform"].split()) == 9
        assert len(row["region"].split()) >= 6


def test_a_second_run_replaces_the_first(photos: Path, tmp_path: Path) -> None:
    output, fresh = tmp_path / "out", tmp_path / "fresh"
    assert main([str(photos), "--output", str(output), "--copies=3", "--seed=1", *LOCAL]) == 0
    for folder in (output, fresh):
        assert main([str(photos), "--output", str(folder), "--mix=mild", *LOCAL]) == 0
    assert written(output) == written(fresh)


def test_an_interrupted_run_continues(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    output, fresh = tmp_path / "out", tmp_path / "fresh"

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "out")

    with monkeypatch.context() as patch:
        patch.setattr("copydetect.pipelines.edits._write_results", fail)
        assert main([str(photos), "--output", str(output), *LOCAL]) == 1
    assert "No space left" in capsys.readouterr().err
    assert not (output / "ground_truth.csv").exists()
    before = {f: f.stat().st_mtime_ns for f in (output / "images").rglob("*.jpg")}
    assert main([str(photos), "--output", str(output), *LOCAL]) == 0
    assert {f: f.stat().st_mtime_ns for f in (output / "images").rglob("*.jpg")} == before
    assert main([str(photos), "--output", str(fresh), *LOCAL]) == 0
    assert written(output) == written(fresh)


def test_one_record_is_kept_of_many_copies(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert main([str(photos), "--output", str(output), "--copies=5", *LOCAL]) == 0
    assert len(list((output / "images").rglob("*.jpg"))) == 30
    records = [file for file in (output / ".copydetect").rglob("*") if file.is_file()]
    assert len(records) == 3 + 1  # the results, and the copies of one part


def test_a_copy_that_has_gone_meanwhile_is_made_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "out")

    with monkeypatch.context() as patch:
        patch.setattr("copydetect.pipelines.edits._write_results", fail)
        assert main([str(photos), "--output", str(output), *LOCAL]) == 1
    lost = next((output / "images").rglob("*.jpg"))
    data = lost.read_bytes()
    lost.unlink()
    assert main([str(photos), "--output", str(output), *LOCAL]) == 0
    assert lost.read_bytes() == data


def test_broken_images_become_failures_and_too_many_an_exit_code(
    photos: Path, tmp_path: Path, capsys
) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    output = tmp_path / "out"
    assert main([str(photos), "--output", str(output), "--max_failed_fraction=0.2", *LOCAL]) == 0
    (failure,) = rows(output / "failures.csv")
    assert (failure["image_id"], failure["stage"]) == ("broken.jpg", "edit")
    assert main([str(photos), "--output", str(output), "--max_failed_fraction=0.1", *LOCAL]) == 3
    assert "1 of 8 images failed" in capsys.readouterr().err


def test_where_every_image_fails_the_failures_are_all_there_is(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    output = tmp_path / "out"
    assert main([str(tmp_path / "photos"), "--output", str(output), *LOCAL]) == 3
    assert len(rows(output / "failures.csv")) == 1
    assert rows(output / "ground_truth.csv") == []


def test_pictures_of_others_are_pasted(photos: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    (others / "plain.jpg").write_bytes(jpeg(np.full((50, 50, 3), 99, np.uint8)))
    made = []
    for number, extra in enumerate(([], ["--others", str(others)])):
        output = tmp_path / f"out{number}"
        flags = ["--output", str(output), "--mix=severe", "--copies=4", *extra, *LOCAL]
        assert main([str(photos), *flags]) == 0
        made.append(written(output))
    assert made[0].keys() == made[1].keys()
    assert made[0] != made[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--nonsense=1"], "nonsense"),
        (["--mix=wild"], "wild"),
        (["--copies=0"], "--copies"),
        (["--max_side=3"], "--max_side"),
        (["--max_failed_fraction=2"], "max_failed_fraction is 2"),
        (["--others=/does/not/exist"], "/does/not/exist"),
    ],
)
def test_bad_arguments_write_nothing(
    flags: list[str], message: str, photos: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "out"
    assert main([str(photos), "--output", str(output), *flags, *LOCAL]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_a_missing_input_and_a_foreign_folder_are_refused(
    photos: Path, tmp_path: Path, capsys
) -> None:
    assert main([str(tmp_path / "none"), "--output", str(tmp_path / "out"), *LOCAL]) == 2
    assert "none does not exist" in capsys.readouterr().err
    assert main([str(photos), "--output", str(photos), *LOCAL]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert len(written(photos)) == 7
