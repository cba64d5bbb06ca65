"""Pictures that a catalogue is asked about."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import copydetect
from copydetect.pipelines.commands import search as search_command
from tests.planted_nights import (
    Nights,
    command,
)
from tests.scenes import scene


def test_search_finds_a_picture_by_its_file_and_by_its_pixels(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = copydetect.open_catalog(nights.catalog)
    copies = [match for match in opened.search(nights.photos / "2.jpg") if match.is_copy]
    assert {match.reference_id for match in copies} == {"2.jpg", "copies/turned.png"}
    assert copies[0].relation == "identical"
    turned = Image.open(nights.photos / "0.jpg").rotate(90, expand=True)
    assert any(m.is_copy and m.reference_id == "0.jpg" for m in opened.search(turned))
    assert not any(m.is_copy for m in opened.search(scene(77, 320, 240)))
    words = ["--catalog", str(nights.catalog), str(nights.photos / "1.jpg"), "nothing.jpg"]
    assert search_command.main(words) == 3
    printed = capsys.readouterr()
    found = [json.loads(line) for line in printed.out.splitlines()]
    assert {one["reference_id"] for one in found} == {"1.jpg", "copies/mirrored and bright.jpg"}
    assert all(one["is_copy"] and one["transform"] for one in found)
    assert "nothing.jpg" in printed.err


def test_one_picture_is_searched_without_beam(nights: Nights) -> None:
    """It takes a second of the two in which a picture is to be found."""
    words = ["--catalog", str(nights.catalog), str(nights.photos / "2.jpg")]
    code = (
        "import sys; from copydetect.pipelines.commands.search import main; "
        f"assert main({words!r}) == 0; assert 'apache_beam' not in sys.modules"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    assert len(printed.splitlines()) == 2


def test_uploads_are_asked_about_and_not_added(nights: Nights, tmp_path: Path) -> None:
    before = (nights.catalog / "catalog.json").read_bytes()
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    shutil.copy2(nights.photos / "copies/cropped.jpg", uploads / "known.jpg")
    Image.fromarray(scene(77, 320, 240)).save(uploads / "new.png")
    (uploads / "broken.jpg").write_bytes(b"no image")
    words = ("--catalog", nights.catalog, "--input", uploads, "--output", tmp_path / "out")
    assert command(*words, "--no_add") == 0
    found = copydetect.open(tmp_path / "out")
    copies = {(r["query_id"], r["reference_id"]) for r in found.matches.to_pylist() if r["is_copy"]}
    group = {"0.jpg", "copies/cropped.jpg", "copies/cropped again.jpg"}
    assert copies == {("known.jpg", name) for name in group}
    assert {row["image_id"] for row in found.failures.to_pylist()} == {"broken.jpg"}
    assert found.summary.copied_queries == 1
    assert (nights.catalog / "catalog.json").read_bytes() == before
    assert command("--catalog", tmp_path / "no", *words[2:], "--no_add") == 2
