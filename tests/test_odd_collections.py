"""Collections with hardly anything in them: one image, none that opens, no features at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from copydetect.edits.geometry import Crop
from copydetect.models import MODELS
from copydetect.pipelines.commands import dedup, match
from copydetect.runs import Manifest
from tests.conftest import ONE_WORKER, STORAGE, Planted, Run, dedup_run, encoded
from tests.scenes import scene


def test_one_image_has_no_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(encoded(scene(0, 120, 90)))
    run = dedup_run(photos, tmp_path / "out", "--channels=local")
    assert run.manifest.counts["images"] == 1
    assert run.groups() == frozenset()
    assert capsys.readouterr().err == ""


def test_pictures_of_one_pixel_have_no_features(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for grey in (0, 100, 200):
        (photos / f"{grey}.png").write_bytes(encoded(np.full((1, 1, 3), grey, np.uint8), "png"))
    run = dedup_run(photos, tmp_path / "out", "--channels=local")
    assert run.manifest.counts["failures"] == 0
    assert run.manifest.counts["candidates"] == 0


def test_no_image_opens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        (photos / f"{number}.jpg").write_bytes(b"nothing" * number)
    run = dedup_run(photos, tmp_path / "out", expected=3)
    assert run.manifest.counts["failures"] == 3
    assert run.manifest.counts["matches"] == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "3 of 3 images failed" in line


@pytest.mark.parametrize("broken", ["queries", "references"])
def test_one_side_does_not_open(broken: str, tmp_path: Path) -> None:
    for name in ("queries", "references"):
        (tmp_path / name).mkdir()
        content = b"nothing" if name == broken else encoded(scene(0, 120, 90))
        (tmp_path / name / "a.jpg").write_bytes(content)
    output = tmp_path / "out"
    flags = [f"--{name}={tmp_path / name}" for name in ("queries", "references")]
    flags += ["--output", str(output), "--channels=local", "--max_failed_fraction=1"]
    assert match.main([*flags, *ONE_WORKER]) == 0
    counts = Manifest.load(STORAGE, str(output)).counts
    assert (counts["images"], counts["failures"], counts["candidates"]) == (2, 1, 0)


def test_names_that_no_one_expects(planted: Planted, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    content = (planted.folder / "0.jpg").read_bytes()
    names = ['it\'s "quoted" <b>&amp;.jpg', "new\nline.jpg", "😀 é.jpg", "%20 #part?x.jpg"]
    for name in names:
        (photos / name).write_bytes(content)
    run: Run = dedup_run(photos, tmp_path / "out", "--channels=local")
    assert run.groups() == {frozenset(names)}


def test_where_all_are_copies_of_all_none_hides_in_the_crowd(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    picture = scene(0, 320, 240)
    for number in range(16):
        copy = Crop(0.01 * number, 0.0, 0.8, 0.9)(picture).pixels
        (photos / f"{number}.jpg").write_bytes(encoded(copy))
    run = dedup_run(photos, tmp_path / "out", "--channels=local")
    assert run.groups() == {frozenset(f"{number}.jpg" for number in range(16))}


def test_a_large_family_is_one_group_without_descriptors_too(tmp_path: Path) -> None:
    """It has more copies than a feature has hits; and who may go was compared with who stays."""
    photos = tmp_path / "photos"
    photos.mkdir()
    picture = Image.fromarray(scene(0, 320, 240))
    for number in range(34):
        width = 110 + number
        copy = np.asarray(picture.resize((width, width * 3 // 4), Image.Resampling.LANCZOS))
        (photos / f"c{number:02d}.jpg").write_bytes(encoded(copy, quality=65 + number))
    for number in range(1, 70):
        (photos / f"s{number:02d}.jpg").write_bytes(encoded(scene(number, 128, 96)))
    run = dedup_run(photos, tmp_path / "out", "--effort=fast")
    assert run.groups() == {frozenset(f"c{number:02d}.jpg" for number in range(34))}
    assert not any("not compared" in str(row["reason"]) for row in run.rows("groups"))
    assert any(row["spare"] for row in run.rows("candidates"))


def test_a_background_that_is_too_small_is_refused(
    tmp_path: Path, planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    background = load_file(MODELS / "descriptor-lite0.background.safetensors")
    few = {name: vectors[:2] for name, vectors in background.items()}
    save_file(few, tmp_path / "few.safetensors")
    flags = ["--output", str(tmp_path / "out"), f"--background={tmp_path / 'few.safetensors'}"]
    assert dedup.main([str(planted.folder), *flags, *ONE_WORKER]) == 2
    assert "the background has 2 images; it needs at least 10" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
