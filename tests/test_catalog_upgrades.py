"""A catalogue that goes over to another descriptor model."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

import copydetect
from copydetect.catalog.generations import part_uris, read_part_table
from copydetect.description.descriptors import load_model
from copydetect.description.model_cards import ModelCard, NetworkConfig
from copydetect.description.trunks import build
from copydetect.errors import OptionError
from copydetect.pipelines.commands import catalog as catalog_command
from copydetect.pipelines.nights import upgrading
from copydetect.tables import descriptors
from tests.conftest import Planted
from tests.planted_nights import FIRST, bring, groups_of, one_night, verdicts_of

BOTH: dict[str, Any] = {"effort": "standard"}
SECOND = ("2.jpg", "4.jpg", "5.jpg", "copies/mirrored and bright.jpg")


def tiny_model(path: Path, seed: int, dimension: int, **card: Any) -> Path:
    """A model that nobody has trained."""
    torch.manual_seed(seed)
    form = NetworkConfig(width=0.25, pooled_stages=(2, 3))
    made = ModelCard(path.stem, 64, dimension, network=form, **card)
    weights = build(form, dimension).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, str(path))
    path.with_suffix(".json").write_text(made.to_json())
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    old = tiny_model(folder / "old.safetensors", 1, 16)
    return old, tiny_model(folder / "new.safetensors", 2, 24)


@pytest.fixture
def begun(planted: Planted, models: tuple[Path, Path], tmp_path: Path) -> Path:
    """A catalogue of one night with the old model, whose upgrade has begun."""
    bring(planted, FIRST, tmp_path / "photos")
    one_night(tmp_path / "cat", tmp_path / "photos", model=str(models[0]), **BOTH)
    assert upgrade(tmp_path / "cat", models[1]) == 0
    return tmp_path


def upgrade(catalog: Path, model: Path) -> int:
    return catalog_command.main(["upgrade", str(catalog), f"--model={model}"])


def rebuild(catalog: Path, *words: str) -> int:
    return catalog_command.main(["rebuild", str(catalog), *words])


def described(catalog: Path, table: str = "descriptors") -> Counter[str]:
    """How many descriptors of each model there are, by its name."""
    opened = copydetect.open_catalog(catalog)
    schema = descriptors(1)
    if not part_uris(opened.folder, opened.generation.parts, table):
        return Counter()
    pieces = [
        read_part_table(opened.storage, opened.folder, [part], table, schema).select(["model"])
        for part in opened.generation.parts
        if table in part.files
    ]
    return Counter(one.split("-")[0] for one in pa.concat_tables(pieces)["model"].to_pylist())


def said_of(catalog: Path) -> tuple[object, ...]:
    return set(groups_of(catalog).values()), verdicts_of(catalog)


@pytest.mark.parametrize("young", [2_000, 0])
def test_no_night_is_lost_and_the_end_is_what_the_new_model_gives_alone(
    begun: Path,
    planted: Planted,
    models: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    young: int,
) -> None:
    monkeypatch.setattr("copydetect.pipelines.nights.search.YOUNG_IMAGES", young)
    catalog, photos = begun / "cat", begun / "photos"
    assert not copydetect.open_catalog(catalog).verify()
    bring(planted, SECOND, photos)
    night = one_night(catalog, photos, model=str(models[1]), **BOTH)
    assert night.added == len(SECOND)
    assert described(catalog) == {"old": 9}
    assert described(catalog, "descriptors-beside") == {"new": 4}
    bring(planted, planted.names, photos)
    one_night(catalog, photos, **BOTH)
    assert set(groups_of(catalog).values()) == planted.groups
    found = copydetect.open_catalog(catalog).search(photos / "0.jpg")
    assert {one.reference_id for one in found if one.is_copy} >= {"copies/cropped.jpg"}

    assert rebuild(catalog) == 0
    opened = copydetect.open_catalog(catalog)
    assert (opened.generation.era.number, opened.generation.upgrade) == (2, None)
    assert described(catalog) == {"new": 10}
    assert not described(catalog, "descriptors-beside")
    assert not opened.verify()
    assert not list((catalog / "upgrade").rglob("*.parquet"))
    one_night(begun / "one", photos, model=str(models[1]), **BOTH)
    assert said_of(catalog) == said_of(begun / "one")
    assert not one_night(catalog, photos, **BOTH).committed


def test_another_model_needs_an_upgrade_and_the_own_one_gives_it_up(
    begun: Path, planted: Planted, models: tuple[Path, Path]
) -> None:
    catalog, third = begun / "cat", tiny_model(begun / "third.safetensors", 3, 16)
    with pytest.raises(OptionError, match=r"catalog upgrade .* --model .*third"):
        one_night(catalog, begun / "photos", model=str(third), **BOTH)
    bring(planted, SECOND, begun / "photos")
    one_night(catalog, begun / "photos", **BOTH)
    assert upgrade(catalog, third) == 0
    assert not described(catalog, "descriptors-beside")
    assert upgrade(catalog, models[0]) == 0
    assert copydetect.open_catalog(catalog).generation.upgrade is None
    assert rebuild(catalog) == 0
    assert described(catalog) == {"old": 9}


def test_what_was_described_stays_when_it_is_ended(
    begun: Path, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = begun / "cat"
    monkeypatch.setattr(upgrading, "PART_ROWS", 2)
    describe, asked = upgrading._Rest.describe, list[list[str]]()

    def ended(self: Any, files: Any) -> None:
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append([file.image_id for file in files])
        describe(self, files)

    monkeypatch.setattr(upgrading._Rest, "describe", ended)
    with pytest.raises(KeyboardInterrupt):
        upgrading.describe_rest(
            str(catalog), copydetect.RunOptions(), copydetect.EngineOptions(workers=1)
        )
    bring(planted, SECOND, begun / "photos")
    assert one_night(catalog, begun / "photos", **BOTH).added == len(SECOND)
    assert copydetect.open_catalog(catalog).summary()["left_to_describe"] == 3
    done = asked.pop()
    assert len(done) == 2
    monkeypatch.setattr(
        upgrading._Rest,
        "describe",
        lambda self, files: (asked.append(files), describe(self, files)),
    )
    assert rebuild(catalog) == 0
    again = {file.image_id for files in asked for file in files}
    assert len(again) == 3
    assert again.isdisjoint(done)
    assert described(catalog) == {"new": 9}


def test_without_the_old_model_local_features_carry_the_search(
    begun: Path, planted: Planted, models: tuple[Path, Path], tmp_path: Path
) -> None:
    old, away = models[0], tmp_path / "away.safetensors"
    old.rename(away)
    try:
        catalog, photos = begun / "cat", begun / "photos"
        bring(planted, planted.names, photos)
        one_night(catalog, photos, **BOTH)
        assert described(catalog) == {"old": 5}
        assert set(groups_of(catalog).values()) == planted.groups
        found = copydetect.open_catalog(catalog).search(photos / "0.jpg")
        assert {one.reference_id for one in found if one.is_copy} >= {"copies/cropped.jpg"}
        assert rebuild(catalog) == 0
        assert described(catalog) == {"new": 10}
    finally:
        away.rename(old)


def test_files_that_are_gone_keep_an_upgrade_open(begun: Path) -> None:
    catalog, gone = begun / "cat", begun / "photos" / "1.jpg"
    gone.unlink()
    assert rebuild(catalog) == 3
    assert copydetect.open_catalog(catalog).generation.upgrade is not None
    assert copydetect.open_catalog(catalog).summary()["left_to_describe"] == 1
    assert rebuild(catalog, "--max_failed_fraction=1") == 0
    assert described(catalog) == {"new": 4}
    assert not copydetect.open_catalog(catalog).verify()


def test_a_compatible_model_searches_the_old_vectors(
    begun: Path, planted: Planted, models: tuple[Path, Path]
) -> None:
    catalog, photos = begun / "cat", begun / "photos"
    # The same weights, said to be compatible: the vectors are those of the old model.
    model = begun / "next.safetensors"
    model.write_bytes(models[0].read_bytes())
    card = ModelCard.from_json(models[0].with_suffix(".json").read_text(), "card")
    identity = load_model(str(models[0])).identity
    card = replace(card, name="next", compatible_with=identity)
    model.with_suffix(".json").write_text(card.to_json())
    assert upgrade(catalog, model) == 0
    bring(planted, planted.names, photos)
    one_night(catalog, photos, **BOTH)
    assert described(catalog) == {"old": 5, "next": 5}
    assert not described(catalog, "descriptors-beside")
    one_night(begun / "one", photos, model=str(models[0]), **BOTH)
    assert said_of(catalog) == said_of(begun / "one")
    assert copydetect.open_catalog(catalog).search(photos / "0.jpg")
    assert rebuild(catalog) == 0
    assert described(catalog) == {"next": 10}


def test_what_is_forgotten_is_gone_from_what_was_described(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = begun / "cat"
    left = upgrading.describe_rest(
        str(catalog), copydetect.RunOptions(), copydetect.EngineOptions(workers=1)
    )
    assert left == 0
    assert list((catalog / "upgrade/made").rglob("*.parquet"))
    one_night(catalog, None, forget=("1.jpg",), **BOTH)
    assert not list((catalog / "upgrade/made").rglob("*.parquet"))
    assert rebuild(catalog) == 0
    assert described(catalog) == {"new": 4}


def test_upgrades_that_make_no_sense(
    begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = begun / "cat"
    assert catalog_command.main(["upgrade", str(catalog)]) == 2
    assert upgrade(catalog, tmp_path / "missing.safetensors") == 2
    assert "missing.safetensors" in capsys.readouterr().err
    assert upgrade(tmp_path / "nothing", tmp_path / "missing.safetensors") == 2
    one_night(tmp_path / "fast", begun / "photos")
    assert upgrade(tmp_path / "fast", begun / "missing.safetensors") == 2
    assert "no descriptors" in capsys.readouterr().err
    assert catalog_command.main(["show", str(catalog), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["left_to_describe"] == 5
