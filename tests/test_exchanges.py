"""What `benchmark plan` says of files is what steps do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from copydetect.candidates import candidate_job
from copydetect.index import spills
from copydetect.parts import part_count
from copydetect.pipelines.benchmarks import exchanges, plan
from copydetect.pipelines.benchmarks.exchanges import pair_files
from copydetect.storage.files import LocalStorage
from tests.steps_in_turn import collect_candidates, find_densities, send_found
from tests.test_merging import IMAGES, Found, job_of


class Counting(LocalStorage):
    """Counts files of pairs that are read or written."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[str] = []

    def _count(self, uri: str) -> None:
        if ".spill" in uri and "/scratch/" in uri:
            self.files.append(uri)

    def open(self, uri: str) -> Any:
        self._count(uri)
        return super().open(uri)

    def write(self, uri: str, data: bytes, settled: Any = lambda: None) -> None:
        self._count(uri)
        super().write(uri, data, settled)

    def upload(self, local_path: str, uri: str, settled: Any = lambda: None) -> None:
        self._count(uri)
        super().upload(local_path, uri, settled)


@pytest.mark.parametrize("many", [2, 3, 100])
def test_files_of_pairs_are_as_many_as_planned(
    many: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_LEAST_BLOCKS", 5), ("_LEAST_BLOCK_IMAGES", 1)):
        monkeypatch.setattr(candidate_job, name, value)
    monkeypatch.setattr(spills, "_MANY", many)
    for module in (candidate_job, exchanges):
        monkeypatch.setattr(module, "BUNDLED", 2)
    storage = Counting()
    job = replace(job_of(tmp_path, Found.random(), 6, True), storage=storage)
    send_found(job)
    sent = len(storage.files)
    scale = find_densities(job)
    parts = job.proposals.queries.parts
    # How crowded it is around images is found with what their own part has sent.
    assert len(storage.files) == sent + 2 * parts
    del storage.files[sent:]
    collect_candidates(job, scale)
    assert len(storage.files) == pair_files(IMAGES, parts)


def test_files_of_pairs_grow_with_the_parts() -> None:
    sizes = 10**7, 10**8
    one, other = (pair_files(images, part_count(images)) for images in sizes)
    assert other < 10**7
    assert one < 2 * 10**5


def test_the_plan_tells_the_steps_with_most_files_first() -> None:
    said = plan.files_text(10**6, [("descriptors", 4, 1), ("keypoints", 400, 2)]).splitlines()
    assert said[0].endswith("files are read or written, those of the input aside")
    shares = [int(line.split("%")[0]) for line in said[1:]]
    assert shares == sorted(shares, reverse=True)
    assert "search keypoints" in said[1]
