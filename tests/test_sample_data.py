"""The sample collection: complete, small, true, and made again byte for byte."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_data"
ORIGINALS = ROOT.parent / "shared" / "samples"


def rows(name: str) -> list[dict[str, str]]:
    with open(SAMPLE / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that `make` writes, by its path."""
    files = [*folder.glob("photos/*/*"), *folder.glob("*.csv")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_every_picture_has_a_source_and_every_copy_a_reference() -> None:
    photos = SAMPLE / "photos"
    found = {str(file.relative_to(photos)) for file in photos.rglob("*") if file.is_file()}
    truth = rows("ground_truth.csv")
    assert {row["image_id"] for row in rows("sources.csv")} == found
    assert {row["query_id"] for row in truth} == {f for f in found if f.startswith("downloads/")}
    assert {row["reference_id"] for row in truth} < found
    assert [row["query_id"] for row in rows("edits.csv")] == [row["query_id"] for row in truth]


def test_it_is_small() -> None:
    assert sum(file.stat().st_size for file in SAMPLE.rglob("*") if file.is_file()) < 6_000_000


def test_only_the_stated_repeats_are_byte_identical() -> None:
    truth = {row["query_id"]: row["reference_id"] for row in rows("ground_truth.csv")}
    by_digest: dict[str, list[str]] = {}
    for file in sorted((SAMPLE / "photos").rglob("*.*")):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        by_digest.setdefault(digest, []).append(str(file.relative_to(SAMPLE / "photos")))
    repeats = [names for names in by_digest.values() if len(names) > 1]
    assert len(repeats) == 3
    for names in repeats:
        (copy,) = (name for name in names if name.startswith("downloads/"))
        assert {copy, truth[copy]} == set(names)


@pytest.mark.parametrize(
    "copy", ["tank_top.png", "trousers_for_sale.jpg", "photographer.jpg", "dress_close.jpg"]
)
def test_the_stated_transform_takes_the_reference_onto_the_copy(copy: str) -> None:
    (edit,) = (row for row in rows("edits.csv") if row["query_id"] == f"downloads/{copy}")
    (pair,) = (row for row in rows("ground_truth.csv") if row["query_id"] == f"downloads/{copy}")
    transform = np.array(edit["transform"].split(), float).reshape(3, 3)
    seen, reference = (
        np.array(Image.open(SAMPLE / "photos" / pair[key]).convert("L"), np.float32)
        for key in ("query_id", "reference_id")
    )
    size = seen.shape[::-1]
    reference = cv2.GaussianBlur(reference, (0, 0), 1.5)
    warped = cv2.warpPerspective(reference, transform, size, borderValue=-1)
    inside = warped >= 0
    assert inside.mean() > 0.4
    assert np.corrcoef(warped[inside], cv2.GaussianBlur(seen, (0, 0), 1.0)[inside])[0, 1] > 0.9


@pytest.mark.skipif(not ORIGINALS.is_dir(), reason="the originals are not at ../shared/samples")
def test_it_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    command = [sys.executable, str(SAMPLE / "make.py"), str(ORIGINALS), str(tmp_path)]
    subprocess.run(command, check=True)
    made, kept = contents(tmp_path), contents(SAMPLE)
    assert made.keys() == kept.keys()
    assert [name for name in kept if made[name] != kept[name]] == []
