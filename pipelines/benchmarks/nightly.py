"""`copydetect benchmark nightly`: what a night costs, and whether nights give what one run gives.

The pictures are shuffled. Those of each size make a catalogue, into which one night brings new
ones; the same night alone, into a catalogue of its own, is what its cost is compared with. Then
some of the pictures come in several nights in random order, some go, and what the catalogue says is
compared with what it says of the rest in one go. Nights can be killed, see `night_kills`.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copydetect.catalog.catalog import Catalog
from copydetect.errors import CopydetectError, InputError
from copydetect.inputs.finding import find_sources
from copydetect.options import EngineOptions
from copydetect.storage.files import LocalStorage
from copydetect.storage.scratch import scratch_folder

from .night_kills import kill_nights

_STORAGE = LocalStorage()
_ASKED = 20
_REMOVED = 0.05


class NightError(CopydetectError):
    """A command of the benchmark has failed."""


@dataclass(frozen=True)
class NightCost:
    """What a command took, with all its processes."""

    cpu_seconds: float
    wall_seconds: float

    def rounded(self) -> dict[str, float]:
        """For people."""
        return {name: round(value, 2) for name, value in vars(self).items()}

    def times(self, other: NightCost) -> dict[str, float]:
        """How many times what the other took."""
        return NightCost(
            self.cpu_seconds / other.cpu_seconds, self.wall_seconds / other.wall_seconds
        ).rounded()


@dataclass(frozen=True)
class _Workshop:
    """The folder of the catalogues, their pictures, and the options of every command.

    words: options of `nightly`; rng: of every order.
    """

    folder: Path
    pictures: list[str]
    words: list[str]
    rng: random.Random

    def night(self, catalog: str, pictures: Sequence[str], *words: str) -> NightCost:
        """A night with these pictures as new ones."""
        given = [*words]
        if pictures:
            listed = self.folder / f"{catalog}-{len(list(self.folder.iterdir()))}.csv"
            listed.write_text("uri\n" + "\n".join(f'"{one}"' for one in pictures) + "\n")
            given += ["--input", str(listed)]
        return _cost("nightly", "--catalog", self.place(catalog), *given, "--quiet", *self.words)

    def place(self, catalog: str) -> str:
        """The folder of a catalogue."""
        return str(self.folder / catalog)

    def opened(self, catalog: str) -> Catalog:
        """A catalogue as it is now."""
        return Catalog(_STORAGE, self.place(catalog))


def run(arguments: Namespace, engine: EngineOptions) -> None:
    """Measure, and print the figures as JSON."""
    pictures = _pictures(arguments.photos)
    rng = random.Random(arguments.seed)
    rng.shuffle(pictures)
    words = [f"--effort={arguments.effort}", f"--workers={engine.workers}"]
    figures: dict[str, Any] = {"pictures": len(pictures), "effort": arguments.effort}
    with scratch_folder() as folder:
        shop = _Workshop(Path(folder), pictures, words, rng)
        sizes = [int(size) for size in arguments.sizes]
        if sizes:
            figures["costs"] = _costs(shop, sizes, arguments.night)
        if arguments.nights > 1:
            figures["equality"] = _equality(shop, arguments.nights, arguments.images)
        if arguments.kills:
            figures["kills"] = kill_nights(shop.folder, pictures, arguments.kills, rng)
    print(json.dumps(figures, indent=1))


def _pictures(photos: list[str]) -> list[str]:
    """The paths of all pictures."""
    sources = find_sources(_STORAGE, photos)
    pieces = [piece for piece in sources.pieces if piece.kind == "files"]
    found = [os.path.abspath(uri) for piece in pieces for uri in piece.uris()]
    if len(found) < 2:
        raise InputError(f"{sources.named} holds fewer than two pictures in files of their own")
    return found


def _costs(shop: _Workshop, sizes: list[int], night: int) -> list[dict[str, Any]]:
    """One night of `night` pictures into catalogues of some sizes, and alone."""
    if len(shop.pictures) < max(sizes) + night:
        raise InputError(
            f"{max(sizes) + night:,} pictures are needed, there are {len(shop.pictures):,}: give "
            "more, such as those that `copydetect edits` makes, or smaller --sizes"
        )
    new = shop.pictures[-night:]
    alone = shop.night("alone", new)
    figures: list[dict[str, Any]] = [{"catalog": 0, "new": night, **alone.rounded()}]
    for size in sizes:
        name = f"of-{size}"
        whole = shop.night(name, shop.pictures[:size])
        cost = shop.night(name, new)
        again = shop.night(name, new)
        opened = shop.opened(name)
        figures.append(
            {
                "catalog": size,
                "new": night,
                **cost.rounded(),
                "times_alone": cost.times(alone),
                "verified": opened.generation.counts["verified"],
                "first_night": whole.rounded(),
                "nothing_new": again.rounded(),
                "bytes_per_image": opened.summary()["bytes_per_image"],
                "search": _search(shop, name, new),
            }
        )
    return figures


def _search(shop: _Workshop, catalog: str, pictures: Sequence[str]) -> dict[str, Any]:
    """Time of `search`, from the shell, and in one process once the first picture was asked."""
    shell = _cost("search", "--catalog", shop.place(catalog), pictures[0])
    opened, seconds = shop.opened(catalog), list[float]()
    for picture in pictures[:_ASKED]:
        started = time.monotonic()
        opened.search(picture)
        seconds.append(time.monotonic() - started)
    later = seconds[1:] or seconds
    return {
        "shell": shell.rounded(),
        "first_msec": round(1000 * seconds[0]),
        "median_msec": round(1000 * statistics.median(later)),
        "most_msec": round(1000 * max(later)),
    }


def _equality(shop: _Workshop, nights: int, images: int) -> dict[str, Any]:
    """Pictures in several nights, of which some go again, against the rest in one go."""
    pictures = shop.pictures[: images or None]
    gone = pictures[: round(_REMOVED * len(pictures))]
    order = shop.rng.sample(pictures, len(pictures))
    costs = [shop.night("nights", order[night::nights]) for night in range(nights)]
    names = {file.uri: file.image_id for file in shop.opened("nights").ledger.living()}
    listed = shop.folder / "gone.csv"
    ids = [names[one] for one in gone if one in names]
    listed.write_text("image_id\n" + "\n".join(f'"{one}"' for one in ids) + "\n")
    costs.append(shop.night("nights", [], "--remove", str(listed)))
    at_once = shop.night("at-once", [one for one in pictures if one not in set(gone)])
    found = _same(shop.opened("nights"), shop.opened("at-once"))
    figures = {"images": len(pictures), "nights": nights, "removed": len(ids), **found}
    seconds = [round(cost.cpu_seconds, 1) for cost in costs]
    return {**figures, "cpu_seconds_of_nights": seconds, "at_once": at_once.rounded()}


def _same(one: Catalog, other: Catalog) -> dict[str, Any]:
    """How far two catalogues say the same of pairs, told apart by their contents."""
    pairs, groups = zip(*map(_said, (one, other)), strict=True)
    copies = [{pair for pair, row in found.items() if row["is_copy"]} for found in pairs]
    either, both = copies[0] | copies[1], copies[0] & copies[1]
    common = pairs[0].keys() & pairs[1].keys()
    worst = [abs(pairs[0][pair]["confidence"] - pairs[1][pair]["confidence"]) for pair in common]
    return {
        "copies_of_either": len(either),
        "same": round(len(both) / len(either), 4) if either else 1.0,
        "groups_of_either": len(groups[0] | groups[1]),
        "same_groups": len(groups[0] & groups[1]),
        "pairs_of_either": len(pairs[0].keys() | pairs[1].keys()),
        "pairs_of_both": len(common),
        "largest_difference_of_confidence": round(max(worst, default=0.0), 6),
    }


def _said(
    catalog: Catalog,
) -> tuple[dict[frozenset[str], dict[str, Any]], set[frozenset[str]]]:
    images = catalog.images
    hashes = dict(zip(images["image_id"].to_pylist(), images["sha256"].to_pylist(), strict=True))
    pairs = {
        frozenset((hashes[row["query_id"]], hashes[row["reference_id"]])): row
        for row in catalog.matches.select(
            ["query_id", "reference_id", "is_copy", "confidence"]
        ).to_pylist()
    }
    groups: dict[str, set[str]] = {}
    for row in catalog.groups.to_pylist():
        groups.setdefault(row["group_id"], set()).add(hashes[row["image_id"]])
    return pairs, set(map(frozenset, groups.values()))


def _cost(*words: str) -> NightCost:
    """Run a command of copydetect; NightError where it fails."""
    started = time.monotonic()
    command = [sys.executable, "-m", "copydetect", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise NightError(f"copydetect {words[0]} ended with {process.returncode}: {said.strip()}")
    return NightCost(usage.ru_utime + usage.ru_stime, time.monotonic() - started)
