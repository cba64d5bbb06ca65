"""The thumbnails of a report are made by several processes, in the order of their images."""

from pathlib import Path

import numpy as np
from PIL import Image

from copydetect.pipelines import report
from copydetect.types import ImageRef
from copydetect.workers.processes import Processes


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
