"""How the groups of a report are cut into pages, and when the thumbnails of each are made."""

from __future__ import annotations

import base64
import re

import numpy as np

from copydetect.errors import CopydetectError
from copydetect.pipelines.commands import report
from copydetect.report import pages, render_report, thumbnail_jpeg
from copydetect.workers.processes import Processes
from tests.test_report import (
    MANIFEST,
    PIXELS,
    group,
    image,
    match,
    rendered,
    run_of,
    write_tables,
)


def test_pages_stay_small_and_linked(monkeypatch):
    monkeypatch.setattr(pages, "_PAGE_PICTURES", 7)
    ids = [f"i{number:03d}" for number in range(120)]
    groups = [row for k in range(0, 120, 2) for row in group(f"g{k:03d}", ids[k], ids[k + 1])]
    run = run_of([image(i) for i in ids], [], groups)
    rng = np.random.default_rng(0)
    noise = thumbnail_jpeg(rng.integers(0, 255, (60, 60, 3), np.uint8))
    result = rendered(run, lambda refs: [noise] * len(refs))
    assert len(result) > 3
    assert list(result)[-1] == "index.html", "written last, when all that it links to is there"
    for page in result.values():
        assert page.count("<symbol") <= 7
        assert len(page) < 75_000
        for name in re.findall(r'href="(groups-\d+\.html)"', page):
            assert name in result
    shown = re.findall(r'<article id="g(\d+)"', "".join(result.values()))
    assert sorted(map(int, shown)) == list(range(1, 61))


class Drawn(bytes):
    """A thumbnail; how many there are is counted."""

    alive = 0

    def __init__(self, *_):
        Drawn.alive += 1

    def __del__(self):
        Drawn.alive -= 1


def test_a_page_is_written_before_the_thumbnails_of_the_next_are_made(monkeypatch):
    monkeypatch.setattr(pages, "_PAGE_PICTURES", 6)
    sizes = [8, 3, 3, 2, 2, 2]
    groups = [[f"{number}-{k}" for k in range(size)] for number, size in enumerate(sizes)]
    ids = [i for one in groups for i in one]
    copies = [match(i, one[0]) for one in groups for i in one[1:]]
    missed = [match("5-0", "x", 0.4), match("x", "y", 0.3)]
    rows = [row for one in groups for row in group(f"g{one[0]}", *one)]
    asked, written = [], []

    def thumbnails(refs):
        assert len(asked) == len(written)
        assert Drawn.alive == 0
        asked.append([ref.image_id for ref in refs])
        return [Drawn(f"of {image_id}".encode()) for image_id in asked[-1]]

    run = run_of([image(i) for i in (*ids, "x", "y")], [*copies, *missed], rows)
    for name, page in render_report(MANIFEST, run, thumbnails):
        written.append(name)
        embedded = re.findall(r"data:image/jpeg;base64,([^\"]*)", page.decode())
        shown = [base64.b64decode(uri).decode() for uri in embedded]
        assert shown == [f"of {image_id}" for image_id in asked[-1]], "each once"
        assert b'class="absent"' not in page
    assert written == ["groups-3.html", "groups-2.html", "index.html"]
    last, second, first = asked
    assert sorted(first) == sorted([*groups[0], "5-0", "x", "y"]), "a large group, and near misses"
    assert second == [*groups[1], *groups[2]]
    assert last == [i for one in groups[3:] for i in one]


def test_the_command_draws_itself_where_no_process_can_be_started(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(thumbnail_jpeg(PIXELS))
    rows = [image(name, uri=str(tmp_path / "a.jpg")) for name in ("a.jpg", "b.jpg")]
    out = tmp_path / "out"
    write_tables(run_of(rows, [match("a.jpg", "b.jpg")], group("g", "a.jpg", "b.jpg")), out)

    def refused(_):
        raise CopydetectError("cannot start processes")

    monkeypatch.setattr(Processes, "fork", refused)
    assert report.main([str(out)]) == 0
    assert 'class="absent"' not in (out / "report" / "index.html").read_text()
