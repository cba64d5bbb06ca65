"""A catalogue over several nights: what one run gives, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

import copydetect
from copydetect.catalog.pointer import Pointer, leased
from copydetect.errors import CatalogBusyError
from copydetect.pipelines.commands import catalog as catalog_command
from copydetect.pipelines.commands import nightly as nightly_command
from copydetect.pipelines.commands import search as search_command
from copydetect.storage.files import LocalStorage
from tests.conftest import BROKEN, EMPTY, TWIN, Planted
from tests.scenes import scene

FIRST = ("0.jpg", "1.jpg", "3.jpg", "copies/cropped.jpg", "copies/turned.png", BROKEN)
ENGINE = copydetect.EngineOptions(workers=1)
FAST: dict[str, Any] = {"effort": "fast", "max_failed_fraction": 0.5, "engine": ENGINE}


def _night(catalog: Path, photos: Path | None, **more: Any) -> copydetect.NightSummary:
    return copydetect.nightly(catalog, photos, **{**FAST, **more})


def _command(*words: object) -> int:
    fast = ("--effort=fast", "--max_failed_fraction=0.5", "--workers=1", "--quiet")
    return nightly_command.main([*map(str, words), *fast])


def _copy(planted: Planted, names: tuple[str, ...] | list[str], folder: Path) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(planted.folder / name, folder / name)


def _groups(catalog: Path | copydetect.Catalog) -> dict[str, frozenset[str]]:
    opened = (
        catalog if isinstance(catalog, copydetect.Catalog) else copydetect.open_catalog(catalog)
    )
    members: dict[str, set[str]] = {}
    for row in opened.groups.to_pylist():
        members.setdefault(row["group_id"], set()).add(row["image_id"])
    return {group_id: frozenset(names) for group_id, names in members.items()}


def _verdicts(catalog: Path) -> dict[frozenset[str], tuple[bool, float]]:
    return {
        frozenset((row["query_id"], row["reference_id"])): (row["is_copy"], row["confidence"])
        for row in copydetect.open_catalog(catalog).matches.to_pylist()
    }


def _content(catalog: Path) -> dict[str, object]:
    opened = copydetect.open_catalog(catalog)
    names = ("images", "matches", "groups", "events", "failures")
    return {name: sorted(map(repr, getattr(opened, name).to_pylist())) for name in names}


@dataclass(frozen=True)
class Nights:
    """Two nights over one folder that grows, and the same in one go."""

    photos: Path
    catalog: Path
    output: Path
    at_once: Path
    first: copydetect.NightSummary
    second: copydetect.NightSummary
    groups_first: dict[str, frozenset[str]]

    def copied(self, folder: Path) -> Path:
        """A copy of the catalogue to do something to."""
        shutil.copytree(self.catalog, folder / "cat")
        return folder / "cat"


@pytest.fixture(scope="module")
def nights(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    folder = tmp_path_factory.mktemp("nights")
    photos, catalog, output = folder / "photos", folder / "cat", folder / "out"
    _copy(planted, FIRST, photos)
    first = _night(catalog, photos)
    groups_first = _groups(catalog)
    _copy(planted, planted.names, photos)
    second = _night(catalog, photos, output=output)
    _night(folder / "one", photos)
    return Nights(photos, catalog, output, folder / "one", first, second, groups_first)


def test_two_nights_give_what_one_gives(nights: Nights, planted: Planted) -> None:
    assert frozenset(_groups(nights.catalog).values()) == planted.groups
    assert frozenset(_groups(nights.at_once).values()) == planted.groups
    twice, once = _verdicts(nights.catalog), _verdicts(nights.at_once)
    assert {pair for pair, (copy, _) in twice.items() if copy} == {
        pair for pair, (copy, _) in once.items() if copy
    }
    # A pair of the first night was proposed by fewer features that are common elsewhere.
    for pair in (pair for pair, (copy, _) in once.items() if copy):
        assert twice[pair][1] == pytest.approx(once[pair][1], abs=0.02)


def test_a_catalogue_that_is_too_large_to_be_searched_as_a_whole(
    planted: Planted, nights: Nights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("copydetect.pipelines.nights.search.YOUNG_IMAGES", 0)
    photos, catalog = tmp_path / "photos", tmp_path / "cat"
    both = {"effort": "standard"}
    _copy(planted, FIRST, photos)
    _night(catalog, photos, **both)
    _copy(planted, planted.names, photos)
    _night(catalog, photos, **both)
    assert frozenset(_groups(catalog).values()) == planted.groups
    night = _night(catalog, None, remove=("1.jpg",), **both)
    assert night.removed == 1
    left = planted.groups - {group for group in planted.groups if "1.jpg" in group}
    assert frozenset(_groups(catalog).values()) == left
    assert all("1.jpg" not in pair for pair in _verdicts(catalog))
    assert not copydetect.open_catalog(catalog).verify()


def test_only_what_is_new_is_read(nights: Nights, planted: Planted) -> None:
    assert nights.first.added == len(FIRST) - 1
    assert nights.first.failed == 1
    assert nights.second.added == len(planted.names) - len(FIRST) - 1
    assert nights.second.known == 0
    assert nights.second.images == len(planted.names) - 2


def test_groups_keep_their_ids(nights: Nights) -> None:
    now = _groups(nights.catalog)
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
    assert belongs == {name: one for one, names in _groups(opened).items() for name in names}


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
    night = _night(catalog, nights.photos, output=tmp_path / "out")
    assert not night.committed
    assert (catalog / "catalog.json").read_bytes() == before
    again = copydetect.open(tmp_path / "out").groups
    assert again.equals(copydetect.open(nights.output).groups)


def test_removed_images_leave_their_groups_and_come_back_only_changed(
    nights: Nights, tmp_path: Path
) -> None:
    catalog = nights.copied(tmp_path)
    (tmp_path / "go.csv").write_text("image_id\n3.jpg\ncopies/cropped.jpg\nnobody.jpg\n")
    night = _night(catalog, None, remove=tmp_path / "go.csv")
    assert (night.removed, night.unknown) == (2, ("nobody.jpg",))
    opened = copydetect.open_catalog(catalog)
    names = set(opened.images["image_id"].to_pylist())
    assert names.isdisjoint({"3.jpg", "copies/cropped.jpg"})
    assert TWIN in names
    now, before = _groups(catalog), _groups(nights.catalog)
    assert frozenset({"0.jpg", "copies/cropped again.jpg"}) in now.values()
    assert {one for one in now if one not in before} == set()
    assert all("3.jpg" not in pair for pair in _verdicts(catalog))
    assert not _night(catalog, nights.photos).committed
    assert not opened.verify()


def test_a_changed_file_is_another_image_of_the_same_name(nights: Nights, tmp_path: Path) -> None:
    catalog = nights.copied(tmp_path)
    photos = tmp_path / "photos"
    shutil.copytree(nights.photos, photos)
    moved = _night(catalog, photos)
    assert (moved.added, moved.removed) == (0, 0)
    shutil.copy2(nights.photos / "5.jpg", photos / "copies/turned.png")
    night = _night(catalog, photos)
    assert (night.changed, night.added, night.removed) == (1, 0, 0)
    assert frozenset({"5.jpg", "copies/turned.png"}) in _groups(catalog).values()
    kinds = [row["kind"] for row in copydetect.open_catalog(catalog).events.to_pylist()]
    assert kinds.count("image_changed") == 1


def test_verify_names_every_file_that_is_flipped_or_missing_and_no_night_trusts_it(
    nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = nights.copied(tmp_path)
    entries = sorted(
        {entry.path for entry in copydetect.open_catalog(catalog).generation.entries()}
    )
    for path in entries:
        file = catalog / path
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        file.write_bytes(flipped)
        assert [path in what for what in copydetect.open_catalog(catalog).verify()] == [True]
        file.write_bytes(whole)
    (catalog / entries[0]).unlink()
    assert catalog_command.main(["verify", str(catalog)]) == 1
    assert entries[0] in capsys.readouterr().err
    (nights.photos / "late.jpg").write_bytes((nights.photos / "5.jpg").read_bytes())
    try:
        assert _command("--catalog", catalog, "--input", nights.photos) == 1
    finally:
        (nights.photos / "late.jpg").unlink()
    assert entries[0] in capsys.readouterr().err


def test_two_at_once_end_with_a_code_of_their_own(nights: Nights, tmp_path: Path) -> None:
    catalog = nights.copied(tmp_path)
    with leased(str(catalog)):
        assert _command("--catalog", catalog, "--input", nights.photos) == 4
    assert _command("--catalog", catalog, "--input", nights.photos) == 0


def test_a_lease_that_was_taken_over_cannot_commit(nights: Nights, tmp_path: Path) -> None:
    catalog = str(nights.copied(tmp_path))
    generation = copydetect.open_catalog(catalog).generation
    pointer = Pointer.load(LocalStorage(), catalog)
    with leased(catalog) as lease:
        stolen = {"token": lease.token + 1}
        (Path(catalog) / "lease.json").write_text(json.dumps(stolen))
        with pytest.raises(CatalogBusyError, match="nothing was committed"):
            lease.move(pointer, generation)
    assert Pointer.load(LocalStorage(), catalog) == pointer


def test_rollback_goes_back_a_night_and_gives_no_number_again(
    nights: Nights, tmp_path: Path
) -> None:
    catalog = nights.copied(tmp_path)
    assert catalog_command.main(["rollback", str(catalog)]) == 0
    assert _groups(catalog) == nights.groups_first
    assert catalog_command.main(["rollback", str(catalog)]) == 2
    used = copydetect.open_catalog(nights.catalog).generation.numbers
    night = _night(catalog, nights.photos)
    assert night.generation == nights.second.generation + 1
    opened = copydetect.open_catalog(catalog)
    assert frozenset(_groups(opened).values()) == frozenset(_groups(nights.catalog).values())
    numbers = [file.number for file in opened.ledger.living()]
    assert all(number < 6 or number >= used for number in numbers)


def test_prune_removes_what_nobody_refers_to(nights: Nights, tmp_path: Path) -> None:
    catalog = nights.copied(tmp_path)
    before = _content(catalog)
    assert catalog_command.main(["prune", str(catalog), "--keep=1"]) == 0
    assert _content(catalog) == before
    assert not copydetect.open_catalog(catalog).verify()
    assert not (catalog / "gen-000001/manifest.json").exists()
    assert catalog_command.main(["rollback", str(catalog)]) == 2


def test_a_night_with_nothing_readable_commits_nothing(nights: Nights, tmp_path: Path) -> None:
    catalog = nights.copied(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "one.jpg").write_bytes(b"\xff\xd8\xff" + bytes(99))
    before = (catalog / "catalog.json").read_bytes()
    assert _command("--catalog", catalog, "--input", broken, "--max_failed_fraction=1") == 3
    assert (catalog / "catalog.json").read_bytes() == before


def _hashes(catalog: Path) -> dict[str, str]:
    images = copydetect.open_catalog(catalog).images
    return dict(zip(images["image_id"].to_pylist(), images["sha256"].to_pylist(), strict=True))


def test_decisions_stay_whatever_files_are_called(
    nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog, hashes = nights.copied(tmp_path), _hashes(nights.catalog)
    said = tmp_path / "said.csv"
    rows = [
        (hashes["1.jpg"], hashes["copies/mirrored and bright.jpg"], "not_copy"),
        (hashes["4.jpg"], hashes["5.jpg"], "copy"),
    ]
    lines = [f"{a},{b},{what},Ann,2026-01-01" for a, b, what in rows]
    said.write_text("\n".join(["sha256_a,sha256_b,decision,who,when", *lines]))
    assert _night(catalog, None, decisions=said).committed
    assert not _night(catalog, None, decisions=said).committed
    groups = frozenset(_groups(catalog).values())
    assert frozenset({"4.jpg", "5.jpg"}) in groups
    assert all("1.jpg" not in group for group in groups)
    photos = tmp_path / "elsewhere"
    photos.mkdir()
    shutil.copy2(nights.photos / "4.jpg", photos / "renamed.jpg")
    _night(catalog, photos, remove=("4.jpg",))
    assert frozenset({"renamed.jpg", "5.jpg"}) in _groups(catalog).values()
    assert catalog_command.main(["decisions", str(catalog)]) == 0
    printed = capsys.readouterr().out
    assert "not_copy" in printed
    assert hashes["4.jpg"] in printed
    said.write_text("sha256_a,sha256_b,decision\nab,cd,copy\n")
    assert _command("--catalog", catalog, "--decisions", said) == 2
    assert "row 1" in capsys.readouterr().err


def test_what_is_forgotten_is_in_no_file(nights: Nights, tmp_path: Path) -> None:
    catalog, hashes = nights.copied(tmp_path), _hashes(nights.catalog)
    name = "copies/mirrored and bright.jpg"
    night = _night(catalog, None, forget=(name,))
    assert night.removed == 1
    opened = copydetect.open_catalog(catalog)
    assert not opened.verify()
    for file in catalog.rglob("*"):
        if file.is_file() and file.suffix == ".parquet":
            text = repr(pq.read_table(file).to_pylist())
            assert "mirrored and bright" not in text, file
            assert hashes[name] not in text, file
    left = {group for group in _groups(nights.catalog).values() if name not in group}
    assert set(_groups(catalog).values()) == left


@pytest.mark.parametrize("what", ["compact", "rebuild"])
def test_upkeep_changes_no_result(nights: Nights, tmp_path: Path, what: str) -> None:
    catalog, before = nights.copied(tmp_path), _content(nights.catalog)
    assert catalog_command.main([what, str(catalog)]) == 0
    opened = copydetect.open_catalog(catalog)
    assert opened.generation.era.number == (2 if what == "rebuild" else 1)
    assert len(opened.generation.parts) == 1
    after = _content(catalog)
    assert {name: after[name] for name in ("images", "matches", "groups", "events")} == {
        name: before[name] for name in ("images", "matches", "groups", "events")
    }
    assert not opened.verify()
    assert not _night(catalog, nights.photos).committed


def test_search_finds_a_picture_by_its_file_and_by_its_pixels(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = copydetect.open_catalog(nights.catalog)
    copies = [match for match in opened.search(nights.photos / "2.jpg") if match.is_copy]
    assert {match.reference_id for match in copies} == {"2.jpg", "copies/turned.png"}
    assert copies[0].relation == "identical"
    turned = Image.open(nights.photos / "0.jpg").rotate(90, expand=True)
    assert any(m.is_copy and m.reference_id == "0.jpg" for m in opened.search(turned))
    assert not any(m.is_copy for m in opened.search(scene(77, 320, 240)))
    words = ["--catalog", str(nights.catalog), str(nights.photos / "1.jpg"), "nothing.jpg"]
    assert search_command.main(words) == 3
    printed = capsys.readouterr()
    found = [json.loads(line) for line in printed.out.splitlines()]
    assert {one["reference_id"] for one in found} == {"1.jpg", "copies/mirrored and bright.jpg"}
    assert all(one["is_copy"] and one["transform"] for one in found)
    assert "nothing.jpg" in printed.err


def test_uploads_are_asked_about_and_not_added(nights: Nights, tmp_path: Path) -> None:
    before = (nights.catalog / "catalog.json").read_bytes()
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    shutil.copy2(nights.photos / "copies/cropped.jpg", uploads / "known.jpg")
    Image.fromarray(scene(77, 320, 240)).save(uploads / "new.png")
    (uploads / "broken.jpg").write_bytes(b"no image")
    words = ("--catalog", nights.catalog, "--input", uploads, "--output", tmp_path / "out")
    assert _command(*words, "--no_add") == 0
    found = copydetect.open(tmp_path / "out")
    copies = {(r["query_id"], r["reference_id"]) for r in found.matches.to_pylist() if r["is_copy"]}
    group = {"0.jpg", "copies/cropped.jpg", "copies/cropped again.jpg"}
    assert copies == {("known.jpg", name) for name in group}
    assert {row["image_id"] for row in found.failures.to_pylist()} == {"broken.jpg"}
    assert found.summary.copied_queries == 1
    assert (nights.catalog / "catalog.json").read_bytes() == before
    assert _command("--catalog", tmp_path / "no", *words[2:], "--no_add") == 2


def test_the_catalogue_is_no_input(nights: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    assert _command("--catalog", nights.catalog, "--input", nights.catalog) == 2
    assert "is in the catalogue" in capsys.readouterr().err


def test_other_options_and_other_versions_are_refused(
    nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = nights.copied(tmp_path)
    words = ["--catalog", str(catalog), "--input", str(nights.photos), "--quiet", "--workers=1"]
    assert nightly_command.main([*words, "--effort=thorough"]) == 2
    assert "effort='fast'" in capsys.readouterr().err
    pointer = json.loads((catalog / "catalog.json").read_text())
    (catalog / "catalog.json").write_text(json.dumps({**pointer, "format": 99}))
    assert nightly_command.main(words) == 2
    assert "format 99" in capsys.readouterr().err


def test_a_half_copied_catalogue_is_told(
    nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = nights.copied(tmp_path)
    os.unlink(catalog / copydetect.open_catalog(catalog).generation.name / "manifest.json")
    assert _command("--catalog", catalog, "--input", nights.photos) == 1
    assert "manifest.json is missing" in capsys.readouterr().err
    assert catalog_command.main(["show", str(tmp_path / "nothing")]) == 2
    assert not (tmp_path / "nothing").exists()


def _manifest_changed(catalog: Path, **changes: Any) -> None:
    """Change what the last manifest says, as if it had been written so."""
    pointer = json.loads((catalog / "catalog.json").read_text())
    manifest = catalog / pointer["manifest"]
    content = {**json.loads(manifest.read_text()), **changes}
    manifest.write_text(json.dumps(content))
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    (catalog / "catalog.json").write_text(json.dumps({**pointer, "sha256": digest}))


def test_a_catalogue_of_another_model_is_refused(
    nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = nights.copied(tmp_path)
    pointer = json.loads((catalog / "catalog.json").read_text())
    manifest = json.loads((catalog / pointer["manifest"]).read_text())
    _manifest_changed(catalog, era={**manifest["era"], "models": {"local": "another"}})
    assert _command("--catalog", catalog, "--input", nights.photos) == 2
    assert "'another'" in capsys.readouterr().err
    assert search_command.main(["--catalog", str(catalog), str(nights.photos / "1.jpg")]) == 2
    assert "'another'" in capsys.readouterr().err


def test_a_clock_that_runs_backwards_turns_no_night_around(nights: Nights, tmp_path: Path) -> None:
    catalog, later = nights.copied(tmp_path), "2999-01-01T00:00:00+00:00"
    _manifest_changed(catalog, created=later)
    before = copydetect.open_catalog(catalog).events.num_rows
    night = _night(catalog, None, remove=("0.jpg",), keep_generations=2)
    opened = copydetect.open_catalog(catalog)
    assert night.generation == nights.second.generation + 1
    assert opened.generation.created == later
    events = opened.events["event"].to_pylist()
    assert events == list(range(1, len(events) + 1))
    assert len(events) > before
    assert catalog_command.main(["prune", str(catalog), "--keep=1", "--keep_days=0.1"]) == 0
    assert not copydetect.open_catalog(catalog).verify()


def test_a_night_with_nothing_new_does_nothing(nights: Nights, tmp_path: Path) -> None:
    catalog = nights.copied(tmp_path)
    before = (catalog / "catalog.json").read_bytes()
    empty = tmp_path / "incoming"
    empty.mkdir()
    assert _command("--catalog", catalog, "--input", empty) == 0
    assert _command("--catalog", catalog, "--input", empty, nights.photos) == 0
    assert (catalog / "catalog.json").read_bytes() == before
    assert _command("--catalog", tmp_path / "fresh", "--input", empty) == 2


def test_a_new_file_with_the_id_of_an_old_one_is_another_image(
    nights: Nights, tmp_path: Path
) -> None:
    catalog, later = nights.copied(tmp_path), tmp_path / "later"
    later.mkdir()
    Image.fromarray(scene(88, 320, 240)).save(later / "0.jpg")
    night = _night(catalog, later)
    assert (night.added, night.changed, night.removed) == (1, 0, 0)
    assert night.renamed == (("0.jpg", "later/0.jpg"),)
    names = set(copydetect.open_catalog(catalog).images["image_id"].to_pylist())
    assert {"0.jpg", "later/0.jpg"} <= names
    assert set(_groups(nights.catalog).values()) == set(_groups(catalog).values())


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
