"""Who may write to a catalogue; nights taken back, removed and put together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import copydetect
from copydetect.catalog.pointer import Pointer, leased, move_pointer
from copydetect.errors import CatalogBusyError
from copydetect.pipelines.commands import catalog as catalog_command
from copydetect.pipelines.commands import nightly as nightly_command
from copydetect.settings import EFFORTS
from copydetect.storage.files import LocalStorage
from tests.planted_nights import (
    Nights,
    command,
    content_of,
    groups_of,
    one_night,
)


def test_two_at_once_end_with_a_code_of_their_own(nights: Nights, tmp_path: Path) -> None:
    catalog = nights.copied(tmp_path)
    with leased(str(catalog)):
        assert command("--catalog", catalog, "--input", nights.photos) == 4
    assert command("--catalog", catalog, "--input", nights.photos) == 0


def test_a_lease_that_was_taken_over_cannot_commit(nights: Nights, tmp_path: Path) -> None:
    catalog = str(nights.copied(tmp_path))
    generation = copydetect.open_catalog(catalog).generation
    pointer = Pointer.load(LocalStorage(), catalog)
    with leased(catalog) as lease:
        stolen = {"token": lease.token + 1}
        (Path(catalog) / "lease.json").write_text(json.dumps(stolen))
        with pytest.raises(CatalogBusyError, match="nothing was committed"):
            move_pointer(LocalStorage(), catalog, lease, pointer, generation)
    assert Pointer.load(LocalStorage(), catalog) == pointer


def test_rollback_goes_back_a_night_and_gives_no_number_again(
    nights: Nights, tmp_path: Path
) -> None:
    catalog = nights.copied(tmp_path)
    assert catalog_command.main(["rollback", str(catalog)]) == 0
    assert groups_of(catalog) == nights.groups_first
    assert catalog_command.main(["rollback", str(catalog)]) == 2
    used = copydetect.open_catalog(nights.catalog).generation.numbers
    night = one_night(catalog, nights.photos)
    assert night.generation == nights.second.generation + 1
    opened = copydetect.open_catalog(catalog)
    assert frozenset(groups_of(opened).values()) == frozenset(groups_of(nights.catalog).values())
    numbers = [file.number for file in opened.ledger.living()]
    assert all(number < 6 or number >= used for number in numbers)


def test_prune_removes_what_nobody_refers_to(nights: Nights, tmp_path: Path) -> None:
    catalog = nights.copied(tmp_path)
    before = content_of(catalog)
    assert catalog_command.main(["prune", str(catalog), "--keep=1"]) == 0
    assert content_of(catalog) == before
    assert not copydetect.open_catalog(catalog).verify()
    assert not (catalog / "gen-000001/manifest.json").exists()
    assert catalog_command.main(["rollback", str(catalog)]) == 2


@pytest.mark.parametrize("what", ["compact", "rebuild"])
def test_upkeep_changes_no_result(nights: Nights, tmp_path: Path, what: str) -> None:
    catalog, before = nights.copied(tmp_path), content_of(nights.catalog)
    assert catalog_command.main([what, str(catalog)]) == 0
    opened = copydetect.open_catalog(catalog)
    assert opened.generation.era.number == (2 if what == "rebuild" else 1)
    assert len(opened.generation.parts) == 1
    after = content_of(catalog)
    assert {name: after[name] for name in ("images", "matches", "groups", "events")} == {
        name: before[name] for name in ("images", "matches", "groups", "events")
    }
    assert not opened.verify()
    assert not one_night(catalog, nights.photos).committed


def test_a_version_that_decides_otherwise_goes_on_and_says_so(
    nights: Nights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    catalog = nights.copied(tmp_path)
    arguments = ["--catalog", str(catalog), "--input", str(nights.photos), "--workers=1"]

    def tonight() -> tuple[int, bool]:
        code = nightly_command.main([*arguments, "--max_failed_fraction=0.5"])
        return code, "pairs that have a verdict keep it" in capfd.readouterr().err

    fast = EFFORTS["fast"]
    monkeypatch.setitem(EFFORTS, "fast", replace(fast, verify_score=-5.0))
    assert tonight() == (0, True)
    assert catalog_command.main(["rebuild", str(catalog)]) == 0
    era = copydetect.open_catalog(catalog).generation.era
    assert (era.number, era.settings["verify_score"]) == (2, -5.0)
    capfd.readouterr()
    assert tonight() == (0, False)
    monkeypatch.setitem(EFFORTS, "fast", replace(fast, views="whole,frames"))
    assert tonight() == (2, False)
