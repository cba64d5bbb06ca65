"""Nights that are killed at random moments and run again must lose nothing and double nothing."""

from __future__ import annotations

import math
import os
import random
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from copydetect.catalog.catalog import Catalog
from copydetect.errors import CopydetectError
from copydetect.options import EngineOptions, RunOptions
from copydetect.storage.files import LocalStorage

from ..exit_codes import DONE, exit_code_of
from ..nights.job import NightRequest
from ..nights.nightly import run_nightly
from .processes import forked

_STORAGE = LocalStorage()
_TABLES = ("images", "matches", "groups", "events", "failures")
_PICTURES = 12
_OPTIONS = RunOptions(effort="fast")


class KillsError(CopydetectError):
    """A night that was killed has changed the catalogue, or the next one was not what it is."""


def kill_nights(
    folder: Path, pictures: Sequence[str], kills: int, rng: random.Random
) -> dict[str, Any]:
    """The figures of `kills` nights; KillsError where one leaves anything else than it should."""
    shop, some = _Nights(folder / "kills"), pictures[:_PICTURES]
    shop.bring(some[: len(some) // 2])
    shop.check(shop.run("before") == DONE, "the first night failed")
    shop.bring(some[len(some) // 2 :])
    shutil.copytree(shop.place("before"), shop.place("undisturbed"))
    started = time.monotonic()
    shop.check(shop.run("undisturbed") == DONE, "a night that nothing befell failed")
    seconds = time.monotonic() - started
    before, expected = shop.said("before"), shop.said("undisturbed")
    ended: dict[str, int] = {"killed": 0, "committed before": 0}
    for number in range(kills):
        shutil.rmtree(shop.place("hit"), ignore_errors=True)
        shutil.copytree(shop.place("before"), shop.place("hit"))
        code = shop.run("hit", rng.random() * seconds)
        said = shop.said("hit")
        shop.check(said in (before, expected), f"night {number} was killed half done")
        ended["killed" if said == before else "committed before"] += 1
        shop.check(shop.run("hit") == DONE, f"night {number} failed when it was run again ({code})")
        shop.check(shop.said("hit") == expected, f"night {number} gave other tables")
    return {"kills": kills, **ended, "tables_changed": 0}


class _Nights:
    """Catalogues in one folder, and the pictures that their nights get."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "pictures").mkdir(parents=True)

    def bring(self, pictures: Sequence[str]) -> None:
        """Add some pictures for the next night, and an exact copy of the first."""
        for number, picture in enumerate([*pictures, pictures[0]]):
            name = f"{len(os.listdir(self.root / 'pictures')):02}-{number}.img"
            shutil.copyfile(picture, self.root / "pictures" / name)

    def place(self, catalog: str) -> str:
        return str(self.root / catalog)

    def run(self, catalog: str, kill_after: float = math.inf) -> int:
        """A night in a fork; its exit code, negative for a signal."""
        given, engine = str(self.root / "pictures"), EngineOptions(workers=1)
        night = partial(
            run_nightly,
            self.place(catalog),
            given,
            None,
            NightRequest(),
            _OPTIONS,
            engine,
            keep_generations=3,
        )
        return forked(lambda: exit_code_of(night), kill_after)

    def said(self, catalog: str) -> dict[str, list[str]]:
        """The rows of all tables of a catalogue that is whole, and the numbers of its images."""
        opened = Catalog(_STORAGE, self.place(catalog))
        self.check(not opened.verify(), f"the catalogue {catalog} is damaged")
        rows = {name: sorted(map(repr, getattr(opened, name).to_pylist())) for name in _TABLES}
        return {**rows, "numbers": [str(file.number) for file in opened.ledger.living()]}

    @staticmethod
    def check(right: bool, what: str) -> None:
        if not right:
            raise KillsError(what)
