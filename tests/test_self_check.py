"""A run that checks itself: what it says, and that nothing of its result knows of the copies."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest

from copydetect import tables
from copydetect.candidates import mapped_tables
from copydetect.edits import make_copy, mix_named
from copydetect.evaluation import planted
from copydetect.evaluation.planted import PlantedEvidence
from copydetect.pipelines import self_check
from copydetect.pipelines.commands import match
from copydetect.runs import Manifest
from copydetect.self_check import SelfCheck
from copydetect.verification import matches
from tests.conftest import ONE_WORKER, STORAGE, Run, dedup_run, encoded
from tests.scenes import scene

QUICK = ("--effort=fast",)


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images suffice to plant three copies in, one by each mix."""
    monkeypatch.setattr(self_check, "LEAST_IMAGES", 4)
    monkeypatch.setattr(self_check, "copies_to_plant", lambda _: 3)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five pictures; a copy of one of them; and a byte-identical one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(5):
        (folder / f"{seed}.jpg").write_bytes(encoded(scene(seed, 240, 180), quality=92))
    smaller = scene(0, 240, 180)[15:165, 20:225]
    (folder / "cropped.jpg").write_bytes(encoded(smaller, quality=80))
    shutil.copy(folder / "1.jpg", folder / "twin.jpg")
    return folder


def match_run(queries: Path, references: Path, output: Path, *flags: str) -> Run:
    arguments = ["--queries", queries, "--references", references, "--output", output]
    flags = ("--no_report", *ONE_WORKER, *QUICK, *flags)
    assert match.main([*map(str, arguments), *flags]) == 0
    return Run(output, Manifest.load(STORAGE, str(output)))


def checked(run: Run) -> SelfCheck:
    assert run.manifest.check is not None
    return run.manifest.check


def evidence_in(run: Run) -> PlantedEvidence:
    return PlantedEvidence.parse(
        (run.output / run.manifest.folder / self_check.RESULT).read_bytes()
    )


@pytest.mark.usefixtures("few_are_enough")
def test_planted_copies_set_the_threshold_and_change_nothing_else(
    photos: Path, tmp_path: Path
) -> None:
    run = dedup_run(photos, tmp_path / "out", *QUICK)
    alone = dedup_run(photos, tmp_path / "alone", *QUICK, "--no_check")
    check = checked(run)
    assert alone.manifest.check is None
    assert not check.unchecked
    assert check.planted == 3
    assert check.recall > 0.3
    assert run.rows("candidates") == alone.rows("candidates")
    assert run.groups() == alone.groups()
    assert run.manifest.counts == alone.manifest.counts
    for row in run.rows("matches"):
        assert row["is_copy"] == (row["confidence"] >= check.threshold)  # type: ignore[operator]
    assert run.manifest.seconds["check"] > 0
    assert not (run.output / run.manifest.folder / self_check.SCRATCH).exists()


@pytest.mark.usefixtures("few_are_enough")
def test_nothing_is_done_for_the_check_that_sets_no_threshold_or_was_done_before(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The histories of planted copies, and the vectors of what they are searched in."""
    histories = Mock(wraps=matches.signs_of)
    vectors = Mock(wraps=mapped_tables.write_rows)
    monkeypatch.setattr(matches, "signs_of", histories)
    monkeypatch.setattr(mapped_tables, "write_rows", vectors)
    dedup_run(photos, tmp_path / "alone", "--no_check")
    told, written = histories.call_count, vectors.call_count
    assert checked(dedup_run(photos, tmp_path / "out")).planted == 3
    assert histories.call_count == 2 * told > 0
    of_copies = [call.args[1] for call in vectors.call_args_list[2 * written :]]
    assert of_copies
    assert all("/check/search/candidates/queries/" in uri for uri in of_copies)


@pytest.mark.usefixtures("few_are_enough")
def test_a_copy_that_was_there_already_is_no_false_alarm(photos: Path, tmp_path: Path) -> None:
    for name in ("b", "c", "d", "e", "f"):
        shutil.copy(photos / "cropped.jpg", photos / f"{name}.jpg")
        pixels = scene(0, 240, 180)[8:172, 8 + ord(name) % 7 : 225]
        (photos / f"{name}.jpg").write_bytes(encoded(pixels, quality=85))
    run = dedup_run(photos, tmp_path / "out", *QUICK)
    family = {"0.jpg", "cropped.jpg", *(f"{name}.jpg" for name in "bcdef")}
    evidence = evidence_in(run)
    assert evidence.left_out > 0
    assert not [
        met
        for met in evidence.strangers
        if {met.original_id, met.reference_id} <= family and met.confidence > 0.5
    ]


@pytest.mark.usefixtures("few_are_enough")
def test_what_was_found_is_taken_over_while_the_collection_is_nearly_the_same(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planted, "SAME_COLLECTION", 0.8)
    first = dedup_run(photos, tmp_path / "out", *QUICK)
    found = evidence_in(first)
    (photos / "another.jpg").write_bytes(encoded(scene(99, 240, 180)))
    monkeypatch.setattr(self_check, "_plant", lambda *_: pytest.fail("planted again"))
    second = dedup_run(photos, tmp_path / "out", "--overwrite", "--precision=0.9", *QUICK)
    assert evidence_in(second) == found
    check = checked(second)
    assert (check.reused, check.wanted) == (True, 0.9)
    assert check.threshold <= checked(first).threshold


@pytest.mark.usefixtures("few_are_enough")
def test_match_plants_copies_of_its_references(photos: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries"
    queries.mkdir()
    (queries / "q.jpg").write_bytes(encoded(scene(3, 240, 180)[10:, 10:], quality=85))
    run = match_run(queries, photos, tmp_path / "out")
    assert checked(run).planted == 3
    assert checked(run).share > 0.5
    assert {row["query_id"] for row in run.rows("matches")} == {"q.jpg"}


@pytest.mark.usefixtures("few_are_enough")
def test_match_plants_copies_of_the_references_that_its_queries_meet(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other queries meet others, so that what was found for the first is of no use to them."""
    monkeypatch.setattr(self_check, "copies_to_plant", lambda _: 1)
    planted_of = []
    for seed, wanted in ((3, 0.9), (2, 0.9), (2, 0.8)):
        queries = tmp_path / "queries"
        shutil.rmtree(queries, ignore_errors=True)
        queries.mkdir()
        for edge in range(4, 20, 4):
            pixels = scene(seed, 240, 180)[edge:, edge:]
            (queries / f"{edge}.jpg").write_bytes(encoded(pixels, quality=85))
        run = match_run(queries, photos, tmp_path / "out", "--overwrite", f"--precision={wanted}")
        (copy,) = evidence_in(run).copies
        planted_of.append((copy.original_id, checked(run).reused))
    assert planted_of == [("3.jpg", False), ("2.jpg", False), ("2.jpg", True)]


def test_few_images_are_not_checked_and_the_run_says_so(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(photos), "--output", str(tmp_path / "out"), "--no_report", *QUICK]
    assert self_check_of(arguments) == 0
    said = capsys.readouterr().out
    assert (
        "precision not checked: there are 6 different images, and it takes 300 to check with; "
        "the threshold is that of the bundled calibration" in said
    )


def self_check_of(arguments: list[str]) -> int:
    from copydetect.pipelines.commands import dedup

    workers = [word for word in ONE_WORKER if word != "--quiet"]
    return dedup.main([*arguments, *workers])


def test_unreadable_images_are_told_and_set_no_threshold(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        (photos / f"{number}.jpg").write_bytes(b"nothing" * number)
    run = dedup_run(photos, tmp_path / "out", *QUICK, expected=3)
    bundled = run.manifest.settings["min_confidence"]
    check = checked(run)
    assert check.sentences() == ["precision not checked: no image could be read"]
    assert check.threshold == bundled


@pytest.mark.usefixtures("few_are_enough")
def test_a_collection_of_one_picture_s_copies_has_no_strangers(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(5)
    for number in range(6):
        copy = make_copy(scene(1, 240, 180), rng, mix_named("mild"), ()).pixels
        (photos / f"{number}.jpg").write_bytes(encoded(copy, quality=90))
    run = dedup_run(photos, tmp_path / "out", *QUICK)
    check = checked(run)
    assert check.left_out > 0
    assert check.strangers <= check.left_out / 4
    assert check.sentences()[0].startswith(("wanted precision 0.97: expected", "a precision of"))


@pytest.mark.usefixtures("few_are_enough")
def test_frames_of_one_camera_are_look_alikes(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    ground = scene(1, 240, 180)
    for number in range(6):
        frame = ground.copy()
        for thing in range(4):
            piece = scene(50 + thing, 60, 80)
            x, y = (20 + 60 * thing + 23 * number) % 180, (15 + 31 * thing + 9 * number) % 100
            frame[y : y + 80, x : x + 60] = piece
        (photos / f"{number}.jpg").write_bytes(encoded(frame, quality=92))
    run = dedup_run(photos, tmp_path / "out", *QUICK)
    check = checked(run)
    assert check.met > 0
    assert check.expected_low <= check.expected <= check.expected_high
    copies = [row for row in run.rows("matches") if row["is_copy"]]
    assert all(row["confidence"] >= check.threshold for row in copies)  # type: ignore[operator]


@pytest.mark.parametrize("flags", [("--min_confidence=0.5",), ("--calibration=none",)])
@pytest.mark.usefixtures("few_are_enough")
def test_a_threshold_that_was_given_is_not_checked(
    flags: tuple[str, ...], photos: Path, tmp_path: Path
) -> None:
    assert dedup_run(photos, tmp_path / "out", *QUICK, *flags).manifest.check is None


def test_queries_in_a_crowd_are_not_counted_where_the_search_tells_copies(tmp_path: Path) -> None:
    """Their scores are low, whether they have a copy or not."""
    rows = {"query_id": ["a", "b", "c", "c"], "score": [3.0, -8.0, -6.0, -6.0]}
    crowded = pa.array([False, False, True, True])
    candidates, images = (str(tmp_path / name) for name in ("candidates", "images"))
    tables.write_table(STORAGE, candidates, pa.table({**rows, "crowded": crowded}))
    tables.write_table(STORAGE, images, pa.table({"status": ["ok", "ok", "ok", "failed"]}))
    run = SimpleNamespace(
        place=SimpleNamespace(storage=STORAGE),
        candidates=[candidates],
        sides=SimpleNamespace(queries=SimpleNamespace(image_files=[images])),
    )
    assert self_check._likely_queries(run) == (1, 2)
