"""The short form of `copydetect benchmark nightly`."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from PIL import Image

from copydetect.pipelines.benchmarks import night_kills
from copydetect.pipelines.benchmarks.night_kills import KillsError, kill_nights
from copydetect.pipelines.commands import benchmark
from tests.scenes import scene


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(6):
        Image.fromarray(scene(500 + seed, 160, 120)).save(folder / f"{seed}.png")
    return folder


def _paths(photos: Path) -> list[str]:
    return sorted(map(str, photos.iterdir()))


def test_a_night_that_is_killed_loses_nothing(photos: Path, tmp_path: Path) -> None:
    figures = kill_nights(tmp_path, _paths(photos), 2, random.Random(3))
    assert figures["killed"] + figures["committed before"] == 2
    assert figures["tables_changed"] == 0


def test_what_a_kill_has_changed_is_told(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measure itself: a night that is not run to its end afterwards does not pass."""
    run = night_kills._Nights.run

    def lazy(self: night_kills._Nights, catalog: str, kill_after: float = math.inf) -> int:
        return 0 if catalog == "hit" else run(self, catalog, kill_after)

    monkeypatch.setattr(night_kills._Nights, "run", lazy)
    with pytest.raises(KillsError, match="other tables"):
        kill_nights(tmp_path, _paths(photos), 1, random.Random(3))


def test_the_cost_of_a_night_is_told(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["nightly", str(photos), "--sizes=4", "--night=2", "--effort=fast", "--workers=1"]
    assert benchmark.main(words) == 0
    alone, night = json.loads(capsys.readouterr().out)["costs"]
    assert (alone["new"], night["catalog"], night["new"]) == (2, 4, 2)
    assert 0 < night["nothing_new"]["cpu_seconds"] <= night["cpu_seconds"] * 1.5
    wall = night["wall_seconds"] / alone["wall_seconds"]
    assert night["times_alone"]["wall_seconds"] == pytest.approx(wall, abs=0.02)
    assert night["bytes_per_image"] > 0
    assert night["search"]["median_msec"] > 0
    assert benchmark.main([*words[:2], "--sizes=40"]) == 2
    assert "pictures are needed" in capsys.readouterr().err
