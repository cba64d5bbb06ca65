"""Two nights over the planted collection, and how tests look at a catalogue."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import copydetect
from copydetect.catalog.pointer import Pointer
from copydetect.pipelines.commands import nightly as nightly_command
from copydetect.storage.files import LocalStorage
from tests.conftest import BROKEN, Planted

FIRST = ("0.jpg", "1.jpg", "3.jpg", "copies/cropped.jpg", "copies/turned.png", BROKEN)
ENGINE = copydetect.EngineOptions(workers=1)
FAST: dict[str, Any] = {"effort": "fast", "max_failed_fraction": 0.5, "engine": ENGINE}


def one_night(catalog: Path, photos: Path | None, **more: Any) -> copydetect.NightSummary:
    return copydetect.nightly(catalog, photos, **{**FAST, **more})


def command(*words: object) -> int:
    fast = ("--effort=fast", "--max_failed_fraction=0.5", "--workers=1", "--quiet")
    return nightly_command.main([*map(str, words), *fast])


def bring(planted: Planted, names: tuple[str, ...] | list[str], folder: Path) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(planted.folder / name, folder / name)


def groups_of(catalog: Path | copydetect.Catalog) -> dict[str, frozenset[str]]:
    opened = (
        catalog if isinstance(catalog, copydetect.Catalog) else copydetect.open_catalog(catalog)
    )
    members: dict[str, set[str]] = {}
    for row in opened.groups.to_pylist():
        members.setdefault(row["group_id"], set()).add(row["image_id"])
    return {group_id: frozenset(names) for group_id, names in members.items()}


def verdicts_of(catalog: Path) -> dict[frozenset[str], tuple[bool, float]]:
    return {
        frozenset((row["query_id"], row["reference_id"])): (row["is_copy"], row["confidence"])
        for row in copydetect.open_catalog(catalog).matches.to_pylist()
    }


def content_of(catalog: Path) -> dict[str, object]:
    opened = copydetect.open_catalog(catalog)
    names = ("images", "matches", "groups", "events", "failures")
    return {name: sorted(map(repr, getattr(opened, name).to_pylist())) for name in names}


def hashes_of(catalog: Path) -> dict[str, str]:
    images = copydetect.open_catalog(catalog).images
    return dict(zip(images["image_id"].to_pylist(), images["sha256"].to_pylist(), strict=True))


def change_manifest(catalog: Path, **changes: Any) -> None:
    """Change what the last manifest says, as if it had been written so."""
    pointer = Pointer.load(LocalStorage(), str(catalog))
    assert pointer is not None
    manifest = catalog / pointer.manifest
    content = {**json.loads(manifest.read_text()), **changes}
    manifest.write_text(json.dumps(content))
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    (catalog / "catalog.json").write_bytes(replace(pointer, sha256=digest).to_json())


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


def planted_nights(planted: Planted, folder: Path) -> Nights:
    """Two nights over the planted collection: some of it, then all."""
    photos, catalog, output = folder / "photos", folder / "cat", folder / "out"
    bring(planted, FIRST, photos)
    first = one_night(catalog, photos)
    groups_first = groups_of(catalog)
    bring(planted, planted.names, photos)
    second = one_night(catalog, photos, output=output)
    one_night(folder / "one", photos)
    return Nights(photos, catalog, output, folder / "one", first, second, groups_first)
