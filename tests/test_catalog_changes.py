"""What goes from a catalogue, changes in it, or is decided on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

import copydetect
from copydetect.pipelines.commands import catalog as catalog_command
from tests.conftest import TWIN
from tests.planted_nights import (
    Nights,
    command,
    groups_of,
    hashes_of,
    one_night,
    verdicts_of,
)
from tests.scenes import scene


def test_removed_images_leave_their_groups_and_come_back_only_changed(
    nights: Nights, tmp_path: Path
) -> None:
    catalog = nights.copied(tmp_path)
    (tmp_path / "go.csv").write_text("image_id\n3.jpg\ncopies/cropped.jpg\nnobody.jpg\n")
    night = one_night(catalog, None, remove=tmp_path / "go.csv")
    assert (night.removed, night.unknown) == (2, ("nobody.jpg",))
    opened = copydetect.open_catalog(catalog)
    names = set(opened.images["image_id"].to_pylist())
    assert names.isdisjoint({"3.jpg", "copies/cropped.jpg"})
    assert TWIN in names
    now, before = groups_of(catalog), groups_of(nights.catalog)
    assert frozenset({"0.jpg", "copies/cropped again.jpg"}) in now.values()
    assert {one for one in now if one not in before} == set()
    assert all("3.jpg" not in pair for pair in verdicts_of(catalog))
    assert not one_night(catalog, nights.photos).committed
    assert not opened.verify()


def test_a_changed_file_is_another_image_of_the_same_name(nights: Nights, tmp_path: Path) -> None:
    catalog = nights.copied(tmp_path)
    photos = tmp_path / "photos"
    shutil.copytree(nights.photos, photos)
    moved = one_night(catalog, photos)
    assert (moved.added, moved.removed) == (0, 0)
    shutil.copy2(nights.photos / "5.jpg", photos / "copies/turned.png")
    night = one_night(catalog, photos)
    assert (night.changed, night.added, night.removed) == (1, 0, 0)
    assert frozenset({"5.jpg", "copies/turned.png"}) in groups_of(catalog).values()
    kinds = [row["kind"] for row in copydetect.open_catalog(catalog).events.to_pylist()]
    assert kinds.count("image_changed") == 1


def test_a_new_file_with_the_id_of_an_old_one_is_another_image(
    nights: Nights, tmp_path: Path
) -> None:
    catalog, later = nights.copied(tmp_path), tmp_path / "later"
    later.mkdir()
    Image.fromarray(scene(88, 320, 240)).save(later / "0.jpg")
    night = one_night(catalog, later)
    assert (night.added, night.changed, night.removed) == (1, 0, 0)
    assert night.renamed == (("0.jpg", "later/0.jpg"),)
    names = set(copydetect.open_catalog(catalog).images["image_id"].to_pylist())
    assert {"0.jpg", "later/0.jpg"} <= names
    assert set(groups_of(nights.catalog).values()) == set(groups_of(catalog).values())


def test_decisions_stay_whatever_files_are_called(
    nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog, hashes = nights.copied(tmp_path), hashes_of(nights.catalog)
    said = tmp_path / "said.csv"
    rows = [
        (hashes["1.jpg"], hashes["copies/mirrored and bright.jpg"], "not_copy"),
        (hashes["4.jpg"], hashes["5.jpg"], "copy"),
    ]
    lines = [f"{a},{b},{what},Ann,2026-01-01" for a, b, what in rows]
    said.write_text("\n".join(["sha256_a,sha256_b,decision,who,when", *lines]))
    assert one_night(catalog, None, decisions=said).committed
    assert not one_night(catalog, None, decisions=said).committed
    groups = frozenset(groups_of(catalog).values())
    assert frozenset({"4.jpg", "5.jpg"}) in groups
    assert all("1.jpg" not in group for group in groups)
    photos = tmp_path / "elsewhere"
    photos.mkdir()
    shutil.copy2(nights.photos / "4.jpg", photos / "renamed.jpg")
    one_night(catalog, photos, remove=("4.jpg",))
    assert frozenset({"renamed.jpg", "5.jpg"}) in groups_of(catalog).values()
    assert catalog_command.main(["decisions", str(catalog)]) == 0
    printed = capsys.readouterr().out
    assert "not_copy" in printed
    assert hashes["4.jpg"] in printed
    said.write_text("sha256_a,sha256_b,decision\nab,cd,copy\n")
    assert command("--catalog", catalog, "--decisions", said) == 2
    assert "row 1" in capsys.readouterr().err


def test_what_is_forgotten_is_in_no_file(nights: Nights, tmp_path: Path) -> None:
    catalog, hashes = nights.copied(tmp_path), hashes_of(nights.catalog)
    name = "copies/mirrored and bright.jpg"
    night = one_night(catalog, None, forget=(name,))
    assert night.removed == 1
    opened = copydetect.open_catalog(catalog)
    assert not opened.verify()
    for file in catalog.rglob("*"):
        if file.is_file() and file.suffix == ".parquet":
            text = repr(pq.read_table(file).to_pylist())
            assert "mirrored and bright" not in text, file
            assert hashes[name] not in text, file
    left = {group for group in groups_of(nights.catalog).values() if name not in group}
    assert set(groups_of(catalog).values()) == left
