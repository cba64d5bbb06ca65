"""The thumbnails of a report are made by several processes, in the order of their images."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from copydetect.pipelines import report
from copydetect.pipelines.commands import report as command
from copydetect.report import pages
from copydetect.storage.files import LocalStorage
from copydetect.transforms import run_in_processes
from copydetect.types import ImageRef
from copydetect.workers import processes as workers
from copydetect.workers.processes import Processes
from tests.test_report import group, image, match, run_of, write_tables

DEADLY = "deadly.png"


def test_processes_make_the_thumbnails_that_one_makes(tmp_path: Path) -> None:
    refs = [ImageRef(f"{n}", str(tmp_path / f"{n}.png")) for n in range(3 * report._TOGETHER)]
    for number, ref in enumerate(refs[:-1]):
        Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(ref.uri)
    expected = [report._thumbnail(ref) for ref in refs]
    assert len(set(expected)) == len(refs)
    assert expected[-1] is None
    processes = Processes(2)
    try:
        for chosen in (Processes(), processes):
            assert list(report._thumbnails(chosen, refs)) == expected
    finally:
        processes.stop()


def with_deadly_picture() -> None:
    """Have this process end when it opens a picture of that name."""
    read_refs = report.read_refs

    def opened(storage, refs):
        if refs[0].uri.endswith(DEADLY):
            os.kill(os.getpid(), signal.SIGKILL)
        return read_refs(storage, refs)

    report.read_refs = opened


def by_the_command(out: str) -> None:
    assert command.main([out]) == 0


def beside_an_engine(out: str) -> None:
    report.write_report(LocalStorage(), out, Processes(of_worker=True))


@pytest.mark.parametrize("draw", [by_the_command, beside_an_engine])
def test_a_picture_that_ends_its_process_has_no_thumbnail_and_the_others_have_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Callable[[str], None]
) -> None:
    monkeypatch.setattr(pages, "_PAGE_PICTURES", 12)
    monkeypatch.setattr(workers, "_FIRST", [with_deadly_picture])
    monkeypatch.setattr(run_in_processes, "as_told_here", lambda: with_deadly_picture)
    names = [f"{number}.png" for number in range(20)]
    names[15] = DEADLY
    for number, name in enumerate(names):
        Image.fromarray(np.full((20, 30, 3), 10 * number, np.uint8)).save(tmp_path / name)
    pairs = [(names[k], names[k + 1]) for k in range(0, 20, 2)]
    rows = [row for pair in pairs for row in group(pair[0], *pair)]
    images = [image(name, uri=str(tmp_path / name)) for name in names]
    write_tables(run_of(images, [match(*pair) for pair in pairs], rows), tmp_path / "out")
    Processes().stop()
    try:
        draw(str(tmp_path / "out"))
    finally:
        Processes().stop()
    written = [page.read_text() for page in sorted((tmp_path / "out" / "report").iterdir())]
    assert [page.count("<article") for page in written] == [4, 6]
    assert [page.count("data:image/jpeg") for page in written] == [8, 11]
    assert ['class="absent"' in page for page in written] == [False, True]
