"""A catalogue over several nights: what one run gives, and what happens tells itself."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from PIL import Image

import copydetect
from copydetect.pipelines.commands import nightly as nightly_command
from tests.conftest import EMPTY, TWIN, Planted
from tests.planted_nights import (
    FIRST,
    Nights,
    command,
    groups_of,
    one_night,
    verdicts_of,
)
from tests.scenes import scene


def test_two_nights_give_what_one_gives(nights: Nights, planted: Planted) -> None:
    assert frozenset(groups_of(nights.catalog).values()) == planted.groups
    assert frozenset(groups_of(nights.at_once).values()) == planted.groups
    twice, once = verdicts_of(nights.catalog), verdicts_of(nights.at_once)
    assert {pair for pair, (copy, _) in twice.items() if copy} == {
        pair for pair, (copy, _) in once.items() if copy
    }
    # A pair of the first night was proposed by fewer features that are common elsewhere.
    for pair in (pair for pair, (copy, _) in once.items() if copy):
        assert twice[pair][1] == pytest.approx(once[pair][1], abs=0.02)


def test_only_what_is_new_is_read(nights: Nights, planted: Planted) -> None:
    assert nights.first.added == len(FIRST) - 1
    assert nights.first.failed == 1
    assert nights.second.added == len(planted.names) - len(FIRST) - 1
    assert nights.second.known == 0
    assert nights.second.images == len(planted.names) - 2


def test_groups_keep_their_ids(nights: Nights) -> None:
    now = groups_of(nights.catalog)
    assert nights.groups_first
    for group_id, members in nights.groups_first.items():
        assert members <= now[group_id]


def test_events_alone_tell_the_groups_and_images(nights: Nights) -> None:
    opened = copydetect.open_catalog(nights.catalog)
    images: set[str] = set()
    belongs: dict[str, str] = {}
    rows = opened.events.to_pylist()
    for row in rows:
        if row["kind"] == "image_added":
            images.add(row["image_id"])
        elif row["kind"] == "group_grown":
            belongs[row["image_id"]] = row["group_id"]
    assert [row["event"] for row in rows] == list(range(1, len(rows) + 1))
    assert images == set(opened.images["image_id"].to_pylist())
    assert belongs == {name: one for one, names in groups_of(opened).items() for name in names}


def test_the_output_holds_what_the_night_has_found(nights: Nights) -> None:
    found = copydetect.open(nights.output)
    groups = {row["image_id"] for row in found.groups.to_pylist()}
    assert {TWIN, "3.jpg", "copies/cropped again.jpg"} <= groups
    assert {row["image_id"] for row in found.failures.to_pylist()} == {EMPTY}
    new = {row["image_id"] for row in found.table("events").to_pylist() if row["image_id"]}
    assert new.isdisjoint({"1.jpg"} - groups)
    assert str(found.summary)


def test_the_same_night_twice_changes_nothing(nights: Nights, tmp_path: Path) -> None:
    catalog = nights.copied(tmp_path)
    before = (catalog / "catalog.json").read_bytes()
    night = one_night(catalog, nights.photos, output=tmp_path / "out")
    assert not night.committed
    assert (catalog / "catalog.json").read_bytes() == before
    again = copydetect.open(tmp_path / "out").groups
    assert again.equals(copydetect.open(nights.output).groups)


@pytest.mark.parametrize("kind", ["manifest", "tar"])
def test_what_a_manifest_or_a_shard_holds_is_read_once(
    nights: Nights, tmp_path: Path, kind: str
) -> None:
    catalog = nights.copied(tmp_path)
    for seed in (90, 91):
        Image.fromarray(scene(seed, 320, 240)).save(tmp_path / f"{seed}.png")
    pictures = sorted(tmp_path.glob("*.png"))
    given = tmp_path / f"new.{'csv' if kind == 'manifest' else 'tar'}"
    if kind == "manifest":
        given.write_text("\n".join(["uri", *(file.name for file in pictures)]))
    else:
        with tarfile.open(given, "w") as shard:
            for file in pictures:
                shard.add(file, file.name)
    assert one_night(catalog, given).added == 2
    again = one_night(catalog, given)
    # What is read again and is what it was counts as known.
    assert (again.committed, again.known) == (False, 0)
    if kind == "manifest":
        Image.fromarray(scene(92, 320, 240)).save(tmp_path / "92.png")
        given.write_text(given.read_text() + "\n92.png")
        night = one_night(catalog, given)
        assert (night.added, night.known) == (1, 0)


def test_a_night_with_nothing_new_does_nothing(nights: Nights, tmp_path: Path) -> None:
    catalog = nights.copied(tmp_path)
    before = (catalog / "catalog.json").read_bytes()
    empty = tmp_path / "incoming"
    empty.mkdir()
    assert command("--catalog", catalog, "--input", empty) == 0
    assert command("--catalog", catalog, "--input", empty, nights.photos) == 0
    assert (catalog / "catalog.json").read_bytes() == before
    assert command("--catalog", tmp_path / "fresh", "--input", empty) == 2


def test_members_are_compared_with_the_kept_image_once(nights: Nights) -> None:
    """Of a pair that no search proposed, the catalogue says what a run says."""
    opened = copydetect.open_catalog(nights.catalog)
    pairs = {frozenset((r["query_id"], r["reference_id"])) for r in opened.matches.to_pylist()}
    assert len(pairs) == opened.matches.num_rows
    for row in opened.groups.to_pylist():
        if row["suggested"]:
            assert "not compared" not in row["reason"]


def test_the_figures_of_a_night_go_to_prometheus(nights: Nights, tmp_path: Path) -> None:
    catalog, metrics = nights.copied(tmp_path), tmp_path / "night.prom"
    (tmp_path / "night.toml").write_text(
        f'catalog = "{catalog}"\nmetrics_file = "{metrics}"\n[nightly]\nmax_failed_fraction = 0.5\n'
        f'effort = "fast"\ninput = ["{nights.photos}"]\nquiet = true\nworkers = 1\n'
    )
    assert nightly_command.main(["--config", str(tmp_path / "night.toml")]) == 0
    labels = f'{{command="nightly",catalog="{catalog}"}}'
    count = len(copydetect.open_catalog(catalog).images)
    assert f"copydetect_images{labels} {float(count)}" in metrics.read_text().splitlines()
