"""What `benchmark plan` says of files is what steps do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from copydetect.candidates import candidate_job
from copydetect.index import building, spills
from copydetect.parts import part_count
from copydetect.pipelines.benchmarks import file_counts, plan
from copydetect.pipelines.benchmarks.file_counts import pair_files
from copydetect.search import search_plans, searching
from tests.counted_files import MadeUp, counted


@pytest.mark.parametrize("many", [2, 3, 100])
@pytest.mark.parametrize("rounds", [1, 2])
def test_files_are_as_many_as_planned(
    many: int, rounds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_LEAST_BLOCKS", 5), ("_LEAST_BLOCK_IMAGES", 1)):
        monkeypatch.setattr(candidate_job, name, value)
    monkeypatch.setattr(spills, "_MANY", many)
    for module in (building, candidate_job, searching, search_plans, file_counts):
        monkeypatch.setattr(module, "BUNDLED", 4)
    for module in (building, file_counts):
        monkeypatch.setattr(module, "SECTION_LISTS", 8)
    found = counted(str(tmp_path), MadeUp(2400, 12), 8, 24, rounds)
    by_step = {one.step: one for one in found}
    assert by_step["candidates"].counted == by_step["candidates"].planned
    for step in ("index", "search"):
        assert 0.85 * by_step[step].planned <= by_step[step].counted <= by_step[step].planned


def test_files_of_pairs_grow_with_the_parts() -> None:
    sizes = 10**7, 10**8
    one, other = (pair_files(images, part_count(images)) for images in sizes)
    assert other < 10**7
    assert one < 2 * 10**5


def test_files_of_a_search_grow_with_the_parts() -> None:
    """Shards of 128 MB; a dedup of 10⁸ images is below 10⁷ files in all."""
    indexes = [
        file_counts.SearchedIndex("descriptors", 160_000, 388),
        replace(file_counts.FEATURES, lists=395_000, shards=3461),
    ]
    steps = {one.step: one.files for one in file_counts.file_counts(10**8, indexes)}
    assert sum(steps.values()) <= 10**7
    assert steps["search keypoints"] < 200 * part_count(10**8)


def test_the_plan_tells_the_steps_with_most_files_first() -> None:
    features = replace(file_counts.FEATURES, lists=10_000, shards=400)
    indexes = [file_counts.SearchedIndex("descriptors", 4096, 4), features]
    said = plan.files_text(10**6, indexes).splitlines()
    assert said[0].endswith("files are read or written, those of the input aside")
    shares = [int(line.split("%")[0]) for line in said[1:]]
    assert shares == sorted(shares, reverse=True)
    assert "search keypoints" in said[1]
