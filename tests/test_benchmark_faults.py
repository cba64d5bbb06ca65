"""The short form of `copydetect benchmark faults`: one fault of each kind."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from copydetect.pipelines.benchmarks import faults
from copydetect.pipelines.benchmarks.faults import Arena, FaultsError, inject
from tests.conftest import Planted


@pytest.fixture
def shop(planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Arena:
    monkeypatch.setattr(faults, "_PICTURES", 3)
    shop = Arena(tmp_path)
    faults._copy_photos(shop, [str(planted.folder)])
    return shop


def test_runs_that_are_hit_lose_nothing_and_leave_nothing(shop: Arena) -> None:
    figures = inject(shop, 4, random.Random(7))
    assert figures["faults"] == 4
    assert figures["operations"] > 100
    assert sum(figures["ended"].values()) == 4


def test_what_is_left_behind_is_told(shop: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure itself: a leftover of a run does not pass."""
    run_job = faults._run_job

    def untidy(shop: Arena, prepare, options) -> int:
        (shop.temporary / "left").write_bytes(b"left")
        return run_job(shop, prepare, options)

    monkeypatch.setattr(faults, "_run_job", untidy)
    with pytest.raises(FaultsError, match="left behind: tmp/left"):
        inject(shop, 1, random.Random(7))
