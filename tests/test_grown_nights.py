"""Nights of a catalogue that is too large to be searched as a whole every night."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import copydetect
from copydetect.catalog.generations import CatalogPart
from copydetect.catalog.packing import pack_night
from copydetect.index.shards import load_index
from copydetect.storage.files import LocalStorage
from tests.conftest import BROKEN, EMPTY, Planted
from tests.planted_nights import (
    FIRST,
    Nights,
    bring,
    groups_of,
    one_night,
    verdicts_of,
)


@pytest.fixture(autouse=True)
def _none_is_young(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copydetect.pipelines.nights.search.YOUNG_IMAGES", 0)


def test_a_catalogue_that_is_too_large_to_be_searched_as_a_whole(
    planted: Planted, nights: Nights, tmp_path: Path
) -> None:
    photos, catalog = tmp_path / "photos", tmp_path / "cat"
    both = {"effort": "standard"}
    bring(planted, FIRST, photos)
    one_night(catalog, photos, **both)
    bring(planted, planted.names, photos)
    one_night(catalog, photos, **both)
    assert frozenset(groups_of(catalog).values()) == planted.groups
    night = one_night(catalog, None, remove=("1.jpg",), **both)
    assert night.removed == 1
    left = planted.groups - {group for group in planted.groups if "1.jpg" in group}
    assert frozenset(groups_of(catalog).values()) == left
    assert all("1.jpg" not in pair for pair in verdicts_of(catalog))
    assert not copydetect.open_catalog(catalog).verify()


def test_what_is_new_is_shared_among_workers_and_kept_in_one_part(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, catalog = tmp_path / "photos", tmp_path / "cat"
    bring(planted, FIRST, photos)
    one_night(catalog, photos)
    monkeypatch.setattr("copydetect.parts._SMALLEST_PART", 2)
    monkeypatch.setattr("copydetect.catalog.packing._SHARED_ROWS", 2)
    packed: list[int] = []

    def counted(*arguments: Any) -> list[CatalogPart]:
        parts = pack_night(*arguments)
        packed.append(len(parts))
        return parts

    monkeypatch.setattr("copydetect.pipelines.nights.night.pack_night", counted)
    bring(planted, planted.names, photos)
    one_night(catalog, photos)
    assert packed[0] > 2
    assert len(copydetect.open_catalog(catalog).generation.parts) <= 2
    assert frozenset(groups_of(catalog).values()) == planted.groups
    assert not copydetect.open_catalog(catalog).verify()


def test_many_small_nights_leave_few_files_and_need_no_night_before(
    planted: Planted, tmp_path: Path
) -> None:
    photos, catalog = tmp_path / "photos", tmp_path / "cat"
    bring(planted, FIRST, photos)
    one_night(catalog, photos)
    left = [name for name in planted.names if name not in {*FIRST, BROKEN, EMPTY}]
    assert len(left) >= 6
    for name in left:
        bring(planted, [name], photos)
        assert one_night(catalog, photos, keep_generations=1).added == 1
        assert not copydetect.open_catalog(catalog).verify()
    assert frozenset(groups_of(catalog).values()) == planted.groups
    opened = copydetect.open_catalog(catalog)
    assert len(opened.generation.parts) <= 3
    index = load_index(LocalStorage(), f"{catalog}/{opened.generation.name}/index/keypoints")
    assert len(index.shards) <= 4
    assert opened.generation.quality["grown"] > 1.5
    assert opened.generation.quality["drift"] >= 1.0
    assert opened.generation.quality["trained_keypoints"] >= 1.0
    found = opened.search(photos / "0.jpg")
    copies = {match.reference_id for match in found if match.is_copy}
    assert copies == next(group for group in planted.groups if "0.jpg" in group)
