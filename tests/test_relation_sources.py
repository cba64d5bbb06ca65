"""Sources of pairs: collected a file each, the same whatever else is collected."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from copydetect.errors import InputError
from copydetect.training import relation_sources
from copydetect.training.relation_pairs import RelatedPair, copies_of
from copydetect.training.relation_sources import SourceOptions, collect, read_collected
from copydetect.verification.relations import NAMES
from tests.scenes import scene


def folder_of(path: Path, count: int, moving: bool = False) -> Path:
    """Pictures of one design: another scene in the middle, moved in one scene or at one place."""
    path.mkdir()
    for number in range(count):
        shown = scene(0, 200, 150)
        shown[40:110, 60:140] = scene(1, 80, 70) if moving else scene(1 + number, 80, 70)
        shown = np.roll(shown, 7 * number, axis=1) if moving else shown
        Image.fromarray(shown).save(path / f"{number}.png")
    (path / "notes.png").write_bytes(b"no picture")
    return path


def test_sources_are_collected_once_and_each_by_itself(tmp_path: Path) -> None:
    cards = folder_of(tmp_path / "cards", 5)
    clip = folder_of(tmp_path / "clip", 3, moving=True)
    options = SourceOptions(one_layout=(str(cards),), each=1)
    features = tmp_path / "features"
    ((name, pairs),) = collect(options, features)
    assert name == "cards-0"
    both = replace(options, frames=(clip,))
    ((other, more),) = collect(both, features)
    assert other == "frames-clip"
    assert not list(collect(both, features))
    found = read_collected(features)
    assert found.values.shape == (pairs + more, len(NAMES))
    of_cards = found.relations[found.sources == "cards-0"]
    assert {"same_layout", "edited"} <= set(of_cards)
    assert {"same_scene"} <= set(found.relations[found.sources == "clip"])

    again = dict(collect(both, tmp_path / "again"))
    assert again == {name: pairs, other: more}
    assert np.array_equal(read_collected(tmp_path / "again").values, found.values, equal_nan=True)


def test_too_few_frames_are_named(tmp_path: Path) -> None:
    clip = folder_of(tmp_path / "short", 2)
    with pytest.raises(InputError, match=r"short has 2 frames or photos; 3 are needed"):
        list(collect(SourceOptions(frames=(clip,)), tmp_path / "features"))


def test_edited_designs_without_backgrounds_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="edited designs need backgrounds"):
        list(collect(SourceOptions(edited_designs=1), tmp_path / "features"))


def test_nothing_collected_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run collect first"):
        read_collected(tmp_path)


def broken(_: np.random.Generator) -> Iterator[RelatedPair]:
    """What a library does that breaks the memory of its process."""
    os._exit(6)


def test_a_source_that_ends_its_process_is_lost_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [scene(0, 200, 150), scene(1, 200, 150)]
    whole = partial(copies_of, pictures=shown, others=shown, source="whole", count=2)
    sources = (("broken", broken), ("whole", whole))
    monkeypatch.setattr(relation_sources, "_sources", lambda _: iter(sources))
    found = dict(collect(SourceOptions(), tmp_path))
    assert found["broken"] is None
    assert found["whole"] == len(read_collected(tmp_path).values) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["whole.npz"]
