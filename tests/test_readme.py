"""What the README promises a newcomer: its two commands on the sample, and what they print."""

from __future__ import annotations

import csv
import itertools
import re
import shutil
from pathlib import Path

import pytest

import copydetect
from copydetect.pipelines import cli
from copydetect.results import Result

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_data"


def numbers_of(line: str) -> list[str]:
    """The numbers in a line, but for how long it took."""
    return re.findall(r"\d+", re.sub(r"in [\d hmins]+$", "", line))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Result]:
    """What the README's command prints, and the run."""
    output = tmp_path_factory.mktemp("sample") / "out"
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("builtins.print", lambda *said, **_: printed.append(" ".join(map(str, said))))
        assert cli.main(["dedup", str(SAMPLE / "photos"), "--output", str(output)]) == 0
    return "\n".join(printed), copydetect.open(output)


def test_the_sample_gives_what_the_readme_says(found: tuple[str, Result]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    promised = re.findall(r"^    (\d+ images in .*|\d+ are copies of .*)$", readme, re.MULTILINE)
    assert len(promised) == 2
    printed = [line for line in found[0].splitlines() if re.match(r"\d+ (images|are copies)", line)]
    assert [numbers_of(line) for line in printed] == [numbers_of(line) for line in promised]


def test_groups_hold_copies_of_one_original_each(found: tuple[str, Result]) -> None:
    with (SAMPLE / "ground_truth.csv").open(encoding="utf-8") as file:
        truth = [(row["query_id"], row["reference_id"]) for row in csv.DictReader(file)]
    originals: dict[str, set[str]] = {}
    for copy, original in truth:
        originals.setdefault(copy, set()).add(original)
    group_of = {row["image_id"]: row["group_id"] for row in found[1].groups.to_pylist()}
    joined = [pair for pair in truth if len({group_of.get(name, name) for name in pair}) == 1]
    assert len(joined) >= 26, f"of {len(truth)}"
    for group in set(group_of.values()):
        members = [name for name in group_of if group_of[name] == group]
        shared = set.intersection(*(originals.get(name, {name}) for name in members))
        assert shared, f"{members} are not of one original"


def test_a_thorough_run_looks_at_parts_too_and_finds_them(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(SAMPLE / "photos" / "pictures", photos / "pictures")
    for name in ("cat_meme.jpg", "cat_mirrored.jpg", "portrait_cropped.jpg"):
        shutil.copy(SAMPLE / "photos" / "downloads" / name, photos)
    thorough = copydetect.dedup(photos, tmp_path / "out", effort="thorough", report=False)
    assert thorough.manifest.settings["views"] == "whole,crops,frames"
    images, vectors = (thorough.manifest.counts[name] for name in ("images", "descriptors"))
    assert vectors > 2 * images
    copies = thorough.matches.filter(thorough.matches["is_copy"]).to_pylist()
    pairs = {frozenset((row["query_id"], row["reference_id"])) for row in copies}
    cat = {"cat_meme.jpg", "cat_mirrored.jpg", "pictures/chelsea.jpg"}
    expected = {frozenset(pair) for pair in itertools.combinations(sorted(cat), 2)}
    assert pairs == expected | {frozenset(("portrait_cropped.jpg", "pictures/astronaut.jpg"))}
