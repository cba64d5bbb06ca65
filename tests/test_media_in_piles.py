"""A pile with transparent pictures, animations and strips: what a run over it says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from copydetect import tables
from copydetect.pipelines.commands import report
from tests.conftest import STORAGE, Run, dedup_run, encoded
from tests.media import animated, drawing, encode, flattened, pan, symbol, title_card
from tests.scenes import scene

CLIPS = {"a": 51, "b": 52}
BESIDE = ("strip.jpg.json", "strip.MOV")
STRIP = [scene(seed, 300, 380) for seed in range(61, 69)]


def files() -> dict[str, bytes]:
    """Every file of the pile; what belongs together begins alike, up to the first full stop."""
    made = {f"{seed}.jpg": encoded(scene(seed, 320, 240), quality=90) for seed in range(14)}
    for seed in (71, 72):
        picture = drawing(seed)
        made[f"drawing{seed}.png"] = encode(picture, "PNG")
        for name, ground in (("black", (0, 0, 0)), ("white", (255,) * 3), ("grey", (128,) * 3)):
            flat = flattened(picture, (ground[0], ground[1], ground[2]))
            made[f"drawing{seed}.{name}.jpg"] = encode(flat, "JPEG", quality=86)
    made["symbol.black.png"] = encode(symbol((0, 0, 0)), "PNG")
    made["symbol.white.png"] = encode(symbol((255, 255, 255)), "PNG")
    for name, seed in CLIPS.items():
        clip = pan(scene(seed, 620, 180), 7)
        made[f"clip-{name}.gif"] = animated(clip, "GIF")
        made[f"clip-{name}.other.webp"] = animated(clip, "WEBP")
        made[f"clip-{name}.card.gif"] = animated([title_card(), *clip], "GIF")
        made[f"clip-{name}.still.jpg"] = encode(clip[4], "JPEG", quality=88)
    strip = np.concatenate(STRIP)
    made["strip.jpg"] = encoded(strip, quality=88)
    made["strip.slice.jpg"] = encoded(strip[900:1500], quality=84)
    return made


def family(name: str) -> str:
    return name.split(".")[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder: Path = tmp_path_factory.mktemp("media")
    pile = folder / "pile"
    pile.mkdir()
    for name, data in files().items():
        (pile / name).write_bytes(data)
    for name in BESIDE:
        (pile / name).write_bytes(b"no picture")
    return dedup_run(pile, folder / "out")


def copies(run: Run) -> set[frozenset[str]]:
    pairs = (row for row in run.rows("matches") if row["is_copy"])
    return {frozenset((str(row["query_id"]), str(row["reference_id"]))) for row in pairs}


def test_each_family_is_one_group(run: Run) -> None:
    families: dict[str, set[str]] = {}
    for name in files():
        families.setdefault(family(name), set()).add(name)
    assert run.groups() == {frozenset(one) for one in families.values() if len(one) > 1}


def test_clips_that_share_a_title_card_are_no_copies(run: Run) -> None:
    assert all(len({family(name) for name in pair}) == 1 for pair in copies(run))
    cards = {"clip-a.card.gif", "clip-b.card.gif"}
    between = [
        row for row in run.rows("matches") if {row["query_id"], row["reference_id"]} == cards
    ]
    assert [row["relation"] for row in between] in ([], ["changed_content"])


def test_the_transparent_and_the_moving_picture_are_kept(run: Run) -> None:
    kept = {str(row["image_id"]) for row in run.rows("groups") if row["keep"]}
    assert {"drawing71.png", "drawing72.png"} <= kept
    for name in CLIPS:
        assert f"clip-{name}.still.jpg" not in kept


def test_images_say_what_is_transparent_and_what_moves(run: Run) -> None:
    rows = {str(row["image_id"]): row for row in run.rows("images")}
    told = {name: (row["transparent"], row["frames"]) for name, row in rows.items()}
    assert told["drawing71.png"] == (True, 1)
    assert told["drawing71.black.jpg"] == (False, 1)
    assert told["clip-a.gif"] == told["clip-a.other.webp"] == (False, 7)
    assert told["clip-a.still.jpg"] == (False, 1)
    assert rows["clip-a.card.gif"]["duration_msec"] == 8 * 80
    assert rows["0.jpg"]["duration_msec"] is None


def test_images_and_the_report_say_what_belongs_to_a_picture(run: Run) -> None:
    rows = {str(row["image_id"]): row for row in run.rows("images")}
    pile = str(rows["strip.jpg"]["uri"]).removesuffix("strip.jpg")
    assert rows["strip.jpg"]["companions"] == sorted(pile + name for name in BESIDE)
    assert rows["strip.slice.jpg"]["companions"] == []
    assert report.main([str(run.output)]) == 0
    pages = "".join(page.read_text() for page in (run.output / "report").glob("*.html"))
    assert "with strip.MOV, strip.jpg.json" in pages


def test_ordinary_images_have_one_descriptor_each(run: Run) -> None:
    views: dict[str, list[str]] = {}
    for uri in run.manifest.table_uris(str(run.output), "descriptors"):
        for row in tables.read_table(STORAGE, uri, ["image_id", "view"]).to_pylist():
            views.setdefault(row["image_id"], []).append(row["view"])
    assert views["0.jpg"] == ["whole"]
    assert sorted(views["drawing71.png"]) == ["on-black", "whole"]
    assert "moment-1" in views["clip-a.gif"]
    assert max(map(len, views.values())) <= 6
