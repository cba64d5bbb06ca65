"""A catalogue that goes over to another descriptor model."""

from __future__ import annotations

import json
import shutil
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
from tests.planted_nights import FIRST, Nights, bring, groups_of, one_night, verdicts_of

BOTH: dict[str, Any] = {"channels": ("descriptor", "local")}


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


@pytest.fixture(scope="module")
def old(
    planted: Planted, models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A catalogue of one night with the old model, in `cat`, of pictures in `photos`."""
    folder = tmp_path_factory.mktemp("old")
    bring(planted, FIRST, folder / "photos")
    one_night(folder / "cat", folder / "photos", model=str(models[0]), **BOTH)
    return folder


@pytest.fixture
def begun(old: Path, models: tuple[Path, Path], tmp_path: Path) -> Path:
    """A folder with a copy of it, whose upgrade has begun."""
    shutil.copytree(old / "cat", tmp_path / "cat")
    assert upgrade(tmp_path / "cat", models[1]) == 0
    return tmp_path


def more_of(planted: Planted, folder: Path) -> Path:
    """A folder of all pictures that the catalogue does not have; two files are not usable."""
    bring(planted, [name for name in planted.names if name not in FIRST], folder / "more")
    return folder / "more"


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


def describe_rest(catalog: Path) -> int:
    options, engine = copydetect.RunOptions(), copydetect.EngineOptions(workers=1)
    return upgrading.describe_rest(str(catalog), options, engine)


@pytest.mark.parametrize("young", [2_000, 0])
def test_no_night_is_lost_and_the_end_is_what_the_new_model_gives_alone(
    begun: Path,
    old: Path,
    planted: Planted,
    models: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    young: int,
) -> None:
    monkeypatch.setattr("copydetect.pipelines.nights.search.YOUNG_IMAGES", young)
    catalog, more = begun / "cat", more_of(planted, begun)
    assert not copydetect.open_catalog(catalog).verify()
    one_night(catalog, more, model=str(models[1]), **BOTH)
    assert described(catalog) == {"old": 10}
    assert described(catalog, "descriptors-beside") == {"new": 5}
    assert set(groups_of(catalog).values()) == planted.groups
    found = copydetect.open_catalog(catalog).search(old / "photos/0.jpg")
    assert {one.reference_id for one in found if one.is_copy} >= {"copies/cropped.jpg"}

    assert rebuild(catalog) == 0
    opened = copydetect.open_catalog(catalog)
    assert (opened.generation.era.number, opened.generation.upgrade) == (2, None)
    assert described(catalog) == {"new": 10}
    assert not described(catalog, "descriptors-beside")
    assert not opened.verify()
    assert not list((catalog / "upgrade").rglob("*.parquet"))
    assert set(groups_of(catalog).values()) == planted.groups
    if young:
        both = [old / "photos", more]
        one_night(begun / "one", both, model=str(models[1]), **BOTH)
        assert verdicts_of(catalog) == verdicts_of(begun / "one")


def test_another_model_needs_an_upgrade_and_the_own_one_gives_it_up(
    begun: Path, planted: Planted, models: tuple[Path, Path]
) -> None:
    catalog, third = begun / "cat", tiny_model(begun / "third.safetensors", 3, 16)
    with pytest.raises(OptionError, match=r"catalog upgrade .* --model .*third"):
        one_night(catalog, begun, model=str(third), **BOTH)
    one_night(catalog, more_of(planted, begun), **BOTH)
    assert described(catalog, "descriptors-beside") == {"new": 5}
    assert upgrade(catalog, third) == 0
    assert not described(catalog, "descriptors-beside")
    assert upgrade(catalog, models[0]) == 0
    assert copydetect.open_catalog(catalog).generation.upgrade is None
    assert described(catalog) == {"old": 10}


def test_what_was_described_stays_when_it_is_ended(
    begun: Path, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = begun / "cat"
    monkeypatch.setattr(upgrading, "PART_ROWS", 2)
    describe, asked = upgrading._Rest.describe, list[str]()

    def ended(self: Any, files: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.extend(file.image_id for file in files)
        describe(self, files)

    monkeypatch.setattr(upgrading._Rest, "describe", ended)
    with pytest.raises(KeyboardInterrupt):
        describe_rest(catalog)
    one_night(catalog, more_of(planted, begun), **BOTH)
    assert copydetect.open_catalog(catalog).summary()["left_to_describe"] == 3
    again = list[str]()

    def told(self: Any, files: Any) -> None:
        again.extend(file.image_id for file in files)
        describe(self, files)

    monkeypatch.setattr(upgrading._Rest, "describe", told)
    assert rebuild(catalog) == 0
    assert (len(asked), len(again)) == (2, 3)
    assert set(again).isdisjoint(asked)
    assert described(catalog) == {"new": 10}


def test_without_the_old_model_local_features_carry_the_search(
    begun: Path, old: Path, planted: Planted, models: tuple[Path, Path], tmp_path: Path
) -> None:
    model, away = models[0], tmp_path / "away.safetensors"
    model.rename(away)
    try:
        catalog = begun / "cat"
        one_night(catalog, more_of(planted, begun), **BOTH)
        assert described(catalog) == {"old": 5}
        assert set(groups_of(catalog).values()) == planted.groups
        found = copydetect.open_catalog(catalog).search(old / "photos/0.jpg")
        assert {one.reference_id for one in found if one.is_copy} >= {"copies/cropped.jpg"}
    finally:
        away.rename(model)


def test_files_that_are_gone_keep_an_upgrade_open(begun: Path, old: Path) -> None:
    catalog, gone = begun / "cat", old / "photos/1.jpg"
    gone.rename(begun / "1.jpg")
    try:
        assert rebuild(catalog) == 3
        opened = copydetect.open_catalog(catalog)
        assert opened.generation.upgrade is not None
        assert opened.summary()["left_to_describe"] == 1
        assert rebuild(catalog, "--max_failed_fraction=1") == 0
    finally:
        (begun / "1.jpg").rename(gone)
    assert described(catalog) == {"new": 4}
    assert not copydetect.open_catalog(catalog).verify()


def test_a_compatible_model_searches_the_old_vectors(
    begun: Path, planted: Planted, models: tuple[Path, Path]
) -> None:
    catalog = begun / "cat"
    # The same weights, said to be compatible: the vectors are those of the old model.
    model = begun / "next.safetensors"
    model.write_bytes(models[0].read_bytes())
    card = ModelCard.from_json(models[0].with_suffix(".json").read_text(), "card")
    identity = load_model(str(models[0])).identity
    card = replace(card, name="next", compatible_with=identity)
    model.with_suffix(".json").write_text(card.to_json())
    assert upgrade(catalog, model) == 0
    shutil.copytree(catalog, begun / "own")
    assert upgrade(begun / "own", models[0]) == 0
    more = more_of(planted, begun)
    for one in (catalog, begun / "own"):
        one_night(one, more, **BOTH)
    assert described(catalog) == {"old": 5, "next": 5}
    assert not described(catalog, "descriptors-beside")
    assert verdicts_of(catalog) == verdicts_of(begun / "own")
    opened = copydetect.open_catalog(catalog)
    assert opened.summary()["left_to_describe"] == 5
    assert any(one.is_copy for one in opened.search(more / "2.jpg"))


def test_what_is_forgotten_is_gone_from_what_was_described(begun: Path) -> None:
    catalog = begun / "cat"
    assert describe_rest(catalog) == 0
    assert list((catalog / "upgrade/made").rglob("*.parquet"))
    one_night(catalog, None, forget=("1.jpg",), **BOTH)
    assert not list((catalog / "upgrade/made").rglob("*.parquet"))
    assert copydetect.open_catalog(catalog).summary()["left_to_describe"] == 4


def test_upgrades_that_make_no_sense(
    begun: Path, models: tuple[Path, Path], nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog, missing = begun / "cat", begun / "missing.safetensors"
    assert catalog_command.main(["upgrade", str(catalog)]) == 2
    assert upgrade(catalog, missing) == 2
    assert "missing.safetensors" in capsys.readouterr().err
    assert upgrade(begun / "nothing", models[1]) == 2
    assert upgrade(nights.copied(begun / "fast"), models[1]) == 2
    assert "no descriptors" in capsys.readouterr().err
    assert catalog_command.main(["show", str(catalog), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["left_to_describe"] == 5
