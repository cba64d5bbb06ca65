"""Several nights give what one run over everything gives, exactly while a catalogue is young."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import copydetect
from copydetect.edits import apply
from copydetect.edits.colour import Brightness
from copydetect.edits.edit import Edit
from copydetect.edits.geometry import Crop, FlipHorizontal, QuarterTurn
from tests.scenes import scene

ORIGINALS, PAGES, NIGHTS = 52, 14, 2
EDITS: list[list[Edit]] = [
    [Crop(0.1, 0.1, 0.7, 0.7)],
    [FlipHorizontal(), Brightness(1.2)],
    [QuarterTurn(1)],
    [Crop(0.0, 0.05, 0.8, 0.8), Brightness(0.8)],
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made pictures, of which every fourth has copies, and pages of one template, which have more
    features in common than are found of one: together more than a hundred."""
    folder = tmp_path_factory.mktemp("pile")
    for seed in range(ORIGINALS):
        pixels = scene(1000 + seed, 160, 120)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
        for number, edits in enumerate(EDITS[: 1 + seed % 7] if seed % 4 == 0 else []):
            copy = Image.fromarray(apply(edits, pixels).pixels)
            copy.save(folder / f"{seed}-{number}.jpg", quality=85)
    template = scene(2000, 160, 120)
    for number in range(PAGES):
        page = template.copy()
        page[40:80, 30:130] = scene(3000 + number, 100, 40)
        Image.fromarray(page).save(folder / f"page-{number}.png")
    return folder


def _night(catalog: Path, photos: Path | None, **more: object) -> copydetect.NightSummary:
    return copydetect.nightly(
        catalog, photos, effort="fast", engine=copydetect.EngineOptions(workers=1), **more
    )


def _said(catalog: Path) -> tuple[dict[frozenset[str], dict[str, Any]], set[frozenset[str]]]:
    opened = copydetect.open_catalog(catalog)
    pairs = {
        frozenset((row["query_id"], row["reference_id"])): row for row in opened.matches.to_pylist()
    }
    groups: dict[str, set[str]] = {}
    for row in opened.groups.to_pylist():
        groups.setdefault(row["group_id"], set()).add(row["image_id"])
    return pairs, set(map(frozenset, groups.values()))


def test_nights_in_any_order_give_what_one_gives(photos: Path, tmp_path: Path) -> None:
    names = sorted(file.name for file in photos.iterdir())
    assert len(names) > 100
    random.Random(7).shuffle(names)
    gone, seen = names[:5], tmp_path / "seen"
    seen.mkdir()
    for night in range(NIGHTS):
        for name in names[night::NIGHTS]:
            shutil.copy2(photos / name, seen / name)
        _night(tmp_path / "nights", seen)
    _night(tmp_path / "nights", None, remove=gone)
    rest = tmp_path / "rest"
    rest.mkdir()
    for name in names[5:]:
        shutil.copy2(photos / name, rest / name)
    _night(tmp_path / "one", rest)
    (nights, groups), (one, wanted) = _said(tmp_path / "nights"), _said(tmp_path / "one")
    assert nights.keys() == one.keys()
    assert groups == wanted
    assert any(row["is_copy"] for row in one.values())
    for pair, row in one.items():
        for said in ("score", "confidence", "proof", "is_copy", "relation"):
            assert nights[pair][said] == row[said]
