"""Damaged, half copied and foreign catalogues: told, and never trusted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import copydetect
from copydetect.errors import IndexFileError, RunError
from copydetect.pipelines.commands import catalog as catalog_command
from copydetect.pipelines.commands import nightly as nightly_command
from copydetect.pipelines.commands import search as search_command
from tests.planted_nights import (
    Nights,
    change_manifest,
    command,
    one_night,
)


def test_verify_names_every_file_that_is_flipped_or_missing_and_no_night_trusts_it(
    nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = nights.copied(tmp_path)
    entries = sorted(
        {entry.path for entry in copydetect.open_catalog(catalog).generation.entries()}
    )
    for path in entries:
        file = catalog / path
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        file.write_bytes(flipped)
        assert [path in what for what in copydetect.open_catalog(catalog).verify()] == [True]
        file.write_bytes(whole)
    (catalog / entries[0]).unlink()
    assert catalog_command.main(["verify", str(catalog)]) == 1
    assert entries[0] in capsys.readouterr().err
    (nights.photos / "late.jpg").write_bytes((nights.photos / "5.jpg").read_bytes())
    try:
        assert command("--catalog", catalog, "--input", nights.photos) == 1
    finally:
        (nights.photos / "late.jpg").unlink()
    assert entries[0] in capsys.readouterr().err


def test_search_never_trusts_a_damaged_file(nights: Nights, tmp_path: Path) -> None:
    catalog = nights.copied(tmp_path)
    picture = nights.photos / "0.jpg"
    right = copydetect.open_catalog(catalog).search(picture)
    assert any(match.is_copy for match in right)
    said: dict[str, str] = {}
    files = [file for file in sorted(catalog.glob("gen-*/**/*")) if file.is_file()]
    for file in files:
        whole, name = file.read_bytes(), str(file.relative_to(catalog))
        for damaged in (_flipped(whole), whole[: len(whole) // 2]):
            file.write_bytes(damaged)
            try:
                assert repr(copydetect.open_catalog(catalog).search(picture)) == repr(right), name
            except (RunError, IndexFileError) as error:
                said[name] = str(error)
        file.write_bytes(whole)
    assert all(str(catalog) in what for what in said.values())
    told = {name.split("/")[1] for name in said}
    assert {"files", "keypoints", "index", "manifest.json"} <= told
    assert len(said) < len(files), "what a search does not read may be damaged"


def _flipped(content: bytes) -> bytes:
    half = len(content) // 2
    return content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]


@pytest.mark.parametrize("field", ["numbers", "events", "highest", "sha256"])
def test_a_damaged_pointer_is_not_followed(nights: Nights, tmp_path: Path, field: str) -> None:
    catalog = nights.copied(tmp_path)
    pointer = json.loads((catalog / "catalog.json").read_text())
    changed = "0" * 64 if field == "sha256" else pointer[field] - 1
    (catalog / "catalog.json").write_text(json.dumps({**pointer, field: changed}))
    with pytest.raises(RunError, match="is damaged"):
        copydetect.open_catalog(catalog)
    assert command("--catalog", catalog, "--input", nights.photos) == 1


def test_a_night_with_nothing_readable_commits_nothing(nights: Nights, tmp_path: Path) -> None:
    catalog = nights.copied(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "one.jpg").write_bytes(b"\xff\xd8\xff" + bytes(99))
    before = (catalog / "catalog.json").read_bytes()
    assert command("--catalog", catalog, "--input", broken, "--max_failed_fraction=1") == 3
    assert (catalog / "catalog.json").read_bytes() == before


def test_the_catalogue_is_no_input(nights: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--catalog", nights.catalog, "--input", nights.catalog) == 2
    assert "is in the catalogue" in capsys.readouterr().err


def test_other_options_and_other_versions_are_refused(
    nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = nights.copied(tmp_path)
    words = ["--catalog", str(catalog), "--input", str(nights.photos), "--quiet", "--workers=1"]
    # The default, too, where it is given.
    for effort in ("thorough", "standard"):
        assert nightly_command.main([*words, f"--effort={effort}"]) == 2
        assert f"effort='fast', not '{effort}'" in capsys.readouterr().err
    with pytest.raises(copydetect.errors.OptionError, match="effort='fast'"):
        copydetect.nightly(catalog, nights.photos, effort="standard")
    assert nightly_command.main([*words, "--probes=3"]) == 2
    assert "probes=0, not 3" in capsys.readouterr().err
    pointer = json.loads((catalog / "catalog.json").read_text())
    (catalog / "catalog.json").write_text(json.dumps({**pointer, "format": 99}))
    assert nightly_command.main(words) == 2
    assert "format 99" in capsys.readouterr().err


def test_a_half_copied_catalogue_is_told(
    nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = nights.copied(tmp_path)
    os.unlink(catalog / copydetect.open_catalog(catalog).generation.name / "manifest.json")
    assert command("--catalog", catalog, "--input", nights.photos) == 1
    assert "manifest.json is missing" in capsys.readouterr().err
    assert catalog_command.main(["show", str(tmp_path / "nothing")]) == 2
    assert not (tmp_path / "nothing").exists()


def test_a_catalogue_of_another_model_is_refused(
    nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = nights.copied(tmp_path)
    pointer = json.loads((catalog / "catalog.json").read_text())
    manifest = json.loads((catalog / pointer["manifest"]).read_text())
    change_manifest(catalog, era={**manifest["era"], "models": {"local": "another"}})
    assert command("--catalog", catalog, "--input", nights.photos) == 2
    assert "'another'" in capsys.readouterr().err
    assert search_command.main(["--catalog", str(catalog), str(nights.photos / "1.jpg")]) == 2
    assert "'another'" in capsys.readouterr().err


def test_a_clock_that_runs_backwards_turns_no_night_around(nights: Nights, tmp_path: Path) -> None:
    catalog, later = nights.copied(tmp_path), "2999-01-01T00:00:00+00:00"
    change_manifest(catalog, created=later)
    before = copydetect.open_catalog(catalog).events.num_rows
    night = one_night(catalog, None, remove=("0.jpg",), keep_generations=2)
    opened = copydetect.open_catalog(catalog)
    assert night.generation == nights.second.generation + 1
    assert opened.generation.created == later
    events = opened.events["event"].to_pylist()
    assert events == list(range(1, len(events) + 1))
    assert len(events) > before
    assert catalog_command.main(["prune", str(catalog), "--keep=1", "--keep_days=0.1"]) == 0
    assert not copydetect.open_catalog(catalog).verify()
