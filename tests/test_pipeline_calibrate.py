"""`copydetect calibrate`: from a folder of pictures to a threshold that dedup uses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from copydetect.candidates import fusion
from copydetect.options import EngineOptions
from copydetect.pipelines.calibrate import _forget_verdicts
from copydetect.pipelines.commands import calibrate, dedup
from copydetect.pipelines.engine import engine_of
from copydetect.pipelines.stages import Workplace
from copydetect.storage.files import LocalStorage
from copydetect.training.bundled_calibration import bundle
from copydetect.verification.calibration import Calibration, bundled_name

PHOTOS = Path(__file__).parent.parent / "sample_data" / "photos"
FAST = ["--effort", "fast", "--quiet"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 pictures that are no copies of each other."""
    folder = tmp_path_factory.mktemp("photos")
    originals = [
        path for path in sorted(PHOTOS.rglob("*.*")) if path.parent.name in ("wardrobe", "pictures")
    ]
    for path in originals[:32]:
        shutil.copy(path, folder / path.name)
    return folder


@pytest.fixture(scope="module")
def calibrated(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated") / "cal"
    arguments = [str(photos), "--output", str(folder), "--mix", "mild", "--precision", "0.8"]
    assert calibrate.main([*arguments, *FAST]) == 0
    return folder


def test_the_calibration_says_what_it_was_made_of(calibrated: Path) -> None:
    stored = json.loads((calibrated / "calibration.json").read_text())
    sample = stored["sample"]
    # One of the 32 is not searched: it is what copies are pasted onto.
    assert sample["images"] == sample["copies"] == len(sample["originals"]) == 31
    assert (sample["seed"], sample["mixes"], sample["effort"]) == (0, ["mild"], "fast")
    assert stored["reliability"]["expected_calibration_error"] < 0.1
    reached = stored["thresholds"]["0.8"]
    assert reached["threshold_low"] <= reached["threshold"] <= reached["threshold_high"]
    assert reached["recall_by_kind"]["mix mild"]["copies"] == 31
    assert (calibrated / "calibration.svg").read_bytes().startswith(b"<?xml")
    pairs = pq.read_table(calibrated / "pairs.parquet").to_pydict()
    assert sum(pairs["labels"]) == 31
    assert sum(pairs["found"]) == sample["pairs"]


def study_at(effort: str, calibrated: Path, study: Path) -> Path:
    """The same study, as if it had been made at another effort."""
    study.mkdir()
    shutil.copy(calibrated / "pairs.parquet", study)
    made = Calibration.load(LocalStorage(), str(calibrated))
    made = replace(made, sample={**made.sample, "effort": effort})
    made.save(LocalStorage(), str(study / "calibration.json"))
    return study


def test_the_bundled_form_is_fitted_on_the_same_pairs(calibrated: Path, tmp_path: Path) -> None:
    # Half of 31 copies are too few for a calibration of its own for match.
    written = bundle(study_at("standard", calibrated, tmp_path / "study"), tmp_path)
    names = ["calibration-dedup-descriptor-local.json", "calibration-dedup-confidence.json"]
    assert [path.name for path in written] == names
    with_score, alone = (Calibration.load(LocalStorage(), str(path)) for path in written)
    made = Calibration.load(LocalStorage(), str(calibrated))
    assert (with_score.map, with_score.points) == (made.map, made.points)
    assert alone.map.score == 0
    assert alone.channels == ()


def test_another_effort_gets_a_bundled_form_of_its_own(calibrated: Path, tmp_path: Path) -> None:
    (written,) = bundle(study_at("fast", calibrated, tmp_path / "study"), tmp_path)
    assert written.name == bundled_name(("local",), "dedup", "fast")
    assert Calibration.load(LocalStorage(), str(written)).channels == ("local",)


def test_dedup_cuts_where_the_calibration_says(
    photos: Path, calibrated: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(sorted(path.name for path in photos.iterdir())[:12]):
        shutil.copy(photos / name, tmp_path / f"{number}.jpg")
    copies = next(calibrated.glob("run-*/edited/mild"))
    for number, copy in enumerate(sorted(copies.iterdir())[:12]):
        shutil.copy(copy, tmp_path / f"copy-{number}.jpg")
    output = tmp_path / "out"
    arguments = [str(tmp_path), "--output", str(output), "--calibration", str(calibrated)]
    assert dedup.main([*arguments, "--precision", "0.8", "--no_report", *FAST]) == 0
    manifest = json.loads((output / "manifest.json").read_text())
    calibration = Calibration.load(LocalStorage(), str(calibrated))
    threshold = calibration.threshold_for(0.8)
    assert manifest["settings"]["calibration"] == calibration.identity
    assert manifest["settings"]["min_confidence"] == pytest.approx(threshold)
    table = pq.read_table([output / uri for uri in manifest["tables"]["matches"]]).to_pydict()
    certain = [
        (confidence >= threshold, said)
        for confidence, said, inliers in zip(
            table["confidence"], table["is_copy"], table["transform"], strict=True
        )
        if inliers and abs(confidence - threshold) > 1e-5
    ]
    assert any(said for _, said in certain)
    assert all(over == said for over, said in certain)


def test_a_precision_that_cannot_be_had_is_refused_with_what_can(
    photos: Path, calibrated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = (calibrated / "calibration.json").read_bytes()
    arguments = [str(photos), "--output", str(calibrated), "--mix", "mild", "--precision", "0.99"]
    assert calibrate.main([*arguments, *FAST]) == 2
    assert "--precision 0.99 cannot be reached: the most" in capsys.readouterr().err
    assert (calibrated / "calibration.json").read_bytes() == made
    assert dedup.main([str(photos), "--output", "out", "--calibration", str(calibrated), *FAST[:2],
                       "--precision", "0.99"]) == 2  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--mix", "gentle"], "no mix of edits is called gentle"),
        (["--sample", "0"], "--sample is 0"),
        (["--precision", "1.5"], "above 0 and below 1"),
    ],
)
def test_bad_input_is_told(
    wrong: list[str],
    message: str,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert calibrate.main([str(photos), "--output", str(tmp_path / "cal"), *wrong, *FAST]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--precision", "0.9", "--min_confidence", "0.5"], "not both"),
        (["--calibration", "none", "--precision", "0.9"], "needs a calibration"),
        (["--calibration", "/nowhere/calibration.json"], "cannot read /nowhere"),
        (["--min_confidence", "7"], "must be 0 to 1"),
        (["--precision", "0.99999"], "cannot be reached"),
    ],
)
def test_dedup_refuses_thresholds_that_make_no_sense(
    wrong: list[str],
    message: str,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert dedup.main([str(photos), "--output", str(tmp_path / "out"), *wrong, *FAST]) == 2
    assert message in capsys.readouterr().err


def test_a_calibration_of_other_channels_is_refused(
    photos: Path, calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = json.loads((calibrated / "calibration.json").read_text())
    foreign = {**stored, "channels": ["descriptor", "local"]}
    stale = {**stored, "channels": [], "decision": "another"}
    for content, message in ((foreign, "channels descriptor,local"), (stale, "another version")):
        (tmp_path / "calibration.json").write_text(json.dumps(content))
        arguments = ["--output", str(tmp_path / "out"), "--calibration", str(tmp_path)]
        assert dedup.main([str(photos), *arguments, *FAST]) == 2
        assert message in capsys.readouterr().err


def test_other_weights_are_judged_anew_on_what_was_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Workplace(LocalStorage(), str(tmp_path), engine_of(EngineOptions()))
    kept = [tmp_path / "keypoints" / "a", tmp_path / "search" / "keypoints" / "a"]
    judged = [tmp_path / name / "a" for name in ("candidates", "matches", "search/candidates")]
    for weights, expected in (((-7.0, 0.6, 0.5), True), ((-7.0, 0.6, 0.5), True),
                              ((-9.0, 0.6, 0.5), False)):  # fmt: skip
        for path in (*kept, *judged):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("left")
        monkeypatch.setattr(fusion.Fusion.__init__, "__defaults__", weights)
        _forget_verdicts(place)
        assert all(path.exists() == expected for path in judged)
        assert all(path.exists() for path in kept)
