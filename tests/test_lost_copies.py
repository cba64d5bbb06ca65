"""The share of copies that the search loses: planted by taking a pair out of a finished run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from copydetect import runs, tables
from copydetect.index.channels import IMAGE_SHIFT, DescriptorReader
from copydetect.options import EngineOptions
from copydetect.parts import RoleParts, Sides
from copydetect.pipelines.engine import engine_of
from copydetect.pipelines.lost_copies import judging_lost, lost_copies
from copydetect.pipelines.search_stages import DESCRIPTORS
from copydetect.pipelines.stages import Workplace
from copydetect.search.neighbors import Neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.recall_job import RecallJob, write_nearest
from copydetect.verification.match_parts import VerifyOptions
from tests.conftest import STORAGE, Run

LOST = {"0.jpg", "copies/cropped.jpg"}


@pytest.fixture
def place(run: Run, tmp_path: Path) -> Workplace:
    """A copy of the planted run, in which no channel proposed the pair LOST."""
    shutil.copytree(run.output, tmp_path / "out")
    folder = runs.join(str(tmp_path / "out"), run.manifest.folder)
    work = Workplace(STORAGE, folder, engine_of(EngineOptions(("--direct_num_workers=1",))))
    for uri in (*work.files(folder, "candidates"), *work.files(folder, "matches")):
        table = tables.read_table(STORAGE, uri)
        both = [pc.is_in(table[n], pc.cast(sorted(LOST), "string")) for n in ENDS]
        tables.write_table(STORAGE, uri, table.filter(pc.invert(pc.and_(*both))))
    return work


ENDS = ("query_id", "reference_id")


def neighbors(pairs: list[tuple[int, int]]) -> Neighbors:
    ends = np.array(sorted(pairs), np.int64).reshape(-1, 2) << IMAGE_SHIFT
    return Neighbors(ends[:, 0], ends[:, 1], -np.arange(len(ends), dtype=np.float32))


def figures_of(place: Workplace, found: list[tuple[str, str]]) -> dict[str, float]:
    """What is lost where every image's neighbours are all others, and `found` were found."""
    parts = len(place.files(place.folder, "images"))
    side = place.described("image", parts, ("descriptor",))
    images = tables.read_tables(STORAGE, side.image_files, tables.IMAGES)
    number = {name: row for row, name in enumerate(images["image_id"].to_pylist())}
    whole = images.filter(pc.equal(images["status"], "ok"))["image_id"].to_pylist()
    pairs = [(number[a], number[b]) for a in whole for b in whole if a != b]
    seen = neighbors([(number[a], number[b]) for a, b in found])
    recall = recall_job(place, side)
    write_nearest(STORAGE, recall.nearest_uri, neighbors(pairs), seen, 20)
    return figures(place, side, recall)


def recall_job(place: Workplace, side: RoleParts) -> RecallJob:
    reader = DescriptorReader(STORAGE, side)
    folder = runs.join(place.folder, "search", "quality")
    return RecallJob(
        STORAGE, reader, reader, lambda: 0, "", "", SearchOptions(), ranks=(1,), folder=folder
    )


def figures(place: Workplace, side: RoleParts, recall: RecallJob) -> dict[str, float]:
    candidates = place.files(place.folder, "candidates")
    recalls = {DESCRIPTORS: recall}
    (judging,) = judging_lost(place, Sides(side, side), candidates, recalls, VerifyOptions())
    place.run(judging, side.parts)
    return lost_copies(place, recalls)


def test_a_copy_that_was_never_proposed_is_lost(place: Workplace) -> None:
    figures = figures_of(place, [])
    accepted = sum(
        int(pc.sum(tables.read_table(STORAGE, uri)["is_copy"]).as_py() or 0)
        for uri in place.files(place.folder, "matches")
    )
    assert accepted >= 4
    assert figures["search_copies"] == accepted + 1
    assert figures["search_copies_lost"] == pytest.approx(1 / (accepted + 1))
    assert figures["search_copies_lost"] < figures["search_copies_lost_high"] < 0.8


def test_a_pair_that_the_search_found_is_not_lost_by_it(place: Workplace) -> None:
    first, second = sorted(LOST)
    assert figures_of(place, [(first, second), (second, first)])["search_copies_lost"] == 0


def test_a_search_that_is_exact_loses_nothing_and_says_nothing(place: Workplace) -> None:
    side = place.described("image", 1, ("descriptor",))
    assert figures(place, side, recall_job(place, side)) == {}


def test_only_the_nearest_are_asked_for(tmp_path: Path) -> None:
    exact = neighbors([(0, 1), (0, 2), (0, 3), (1, 0)])
    uri = str(tmp_path / "nearest.npz")
    write_nearest(STORAGE, uri, exact, neighbors([(0, 2)]), 2)
    stored = np.load(uri)
    assert stored["nearest"].tolist() == [[0, 1], [0, 2], [1, 0]]
    assert stored["lost"].tolist() == [True, False, True]
