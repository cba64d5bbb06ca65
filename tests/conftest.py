"""One small collection with planted copies, and one run over it that many tests look at."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from copydetect.edits import apply
from copydetect.edits.colour import Brightness
from copydetect.edits.edit import Edit
from copydetect.edits.geometry import Crop, FlipHorizontal, QuarterTurn
from copydetect.pipelines.commands import dedup
from copydetect.runs import Manifest
from copydetect.storage.files import LocalStorage
from copydetect.types import Pixels
from tests.scenes import scene

if TYPE_CHECKING:
    from tests.planted_nights import Nights

STORAGE = LocalStorage()
ONE_WORKER = ("--direct_num_workers=1", "--quiet")

EDITS: dict[str, tuple[str, list[Edit]]] = {
    "copies/cropped.jpg": ("0.jpg", [Crop(0.1, 0.1, 0.7, 0.7)]),
    "copies/mirrored and bright.jpg": ("1.jpg", [FlipHorizontal(), Brightness(1.2)]),
    "copies/turned.png": ("2.jpg", [QuarterTurn(1)]),
    "copies/cropped again.jpg": ("0.jpg", [Crop(0.0, 0.05, 0.8, 0.8)]),
}
"""The planted copies: name, the original, and what was done to it."""

TWIN, BROKEN, EMPTY = "copies/the same bytes.jpg", "broken.jpg", "empty.png"


@dataclass(frozen=True)
class Planted:
    """A folder of pictures, and which of them belong together."""

    folder: Path
    groups: frozenset[frozenset[str]]
    failures: frozenset[str] = frozenset((BROKEN, EMPTY))

    @property
    def names(self) -> list[str]:
        return sorted(
            str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file()
        )


@dataclass(frozen=True)
class Run:
    """A finished run: its output folder and manifest."""

    output: Path
    manifest: Manifest = field(compare=False)

    def rows(self, name: str) -> list[dict[str, object]]:
        table = self.manifest.table(STORAGE, str(self.output), name)
        return sorted(table.to_pylist(), key=repr)

    def table(self, name: str) -> pa.Table:
        return self.manifest.table(STORAGE, str(self.output), name)

    def results(self) -> dict[str, list[dict[str, object]]]:
        """Every table, but for where the files are."""
        return {
            name: [
                {key: value for key, value in row.items() if not key.endswith("uri")}
                for row in self.rows(name)
            ]
            for name in ("candidates", "matches", "groups")
        }

    def groups(self) -> frozenset[frozenset[str]]:
        members: dict[object, set[str]] = {}
        for row in self.rows("groups"):
            members.setdefault(row["group_id"], set()).add(str(row["image_id"]))
        return frozenset(map(frozenset, members.values()))


def encoded(pixels: Pixels, kind: str = "jpeg", **options: object) -> bytes:
    """The bytes of an image file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def plant(folder: Path) -> Planted:
    """Six pictures, four edited copies, a byte-identical one, and two files that are no images."""
    (folder / "copies").mkdir(parents=True)
    originals = {f"{seed}.jpg": scene(seed, 320, 240) for seed in range(6)}
    for name, pixels in originals.items():
        (folder / name).write_bytes(encoded(pixels, quality=92))
    for name, (original, edits) in EDITS.items():
        kind = "png" if name.endswith("png") else "jpeg"
        (folder / name).write_bytes(encoded(apply(edits, originals[original]).pixels, kind))
    (folder / TWIN).write_bytes((folder / "3.jpg").read_bytes())
    (folder / BROKEN).write_bytes((folder / "4.jpg").read_bytes()[:300])
    (folder / EMPTY).write_bytes(b"")
    groups: dict[str, set[str]] = {"3.jpg": {TWIN}}
    for name, (original, _) in EDITS.items():
        groups.setdefault(original, set()).add(name)
    return Planted(folder, frozenset(frozenset((kept, *rest)) for kept, rest in groups.items()))


def dedup_run(photos: Path | str, output: Path, *flags: str, expected: int = 0) -> Run:
    """Run `copydetect dedup` and read its manifest."""
    arguments = [str(photos), "--output", str(output), "--max_failed_fraction=0.5", "--no_report"]
    assert dedup.main([*arguments, *ONE_WORKER, *flags]) == expected
    return Run(output, Manifest.load(STORAGE, str(output)))


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(tmp_path_factory.mktemp("planted") / "photos")


@pytest.fixture(scope="session")
def run(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run over the planted collection with all defaults; read only."""
    return dedup_run(planted.folder, tmp_path_factory.mktemp("run") / "out")


@pytest.fixture(scope="session")
def nights(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """A catalogue of the planted collection, made in two nights; read only."""
    from tests.planted_nights import planted_nights

    return planted_nights(planted, tmp_path_factory.mktemp("nights"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
