"""The stage that describes: what it writes, counts and leaves alone."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import BinaryIO

import apache_beam as beam
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from copydetect import tables
from copydetect.description.describing import DescriberOptions
from copydetect.inputs.finding import find_sources
from copydetect.inputs.listing import LISTING, list_images
from copydetect.inputs.sources import read_source
from copydetect.storage.files import LocalStorage
from copydetect.transforms.refs_to_descriptions import (
    DescriberSetup,
    RefsToDescriptions,
    part_uri,
)
from copydetect.workers.processes import Processes
from tests.conftest import STORAGE, Planted

SETUP = DescriberSetup(DescriberOptions(), None, "", "cpu", local=True)
RUNNER = PipelineOptions(["--runner=FnApiRunner"])


class DeadlyStorage(LocalStorage):
    """Whoever opens a file of this name is ended."""

    name = "deadly.jpg"

    def open(self, uri: str) -> BinaryIO:
        if uri.endswith(self.name):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(uri)


@pytest.fixture
def listing(planted: Planted, tmp_path: Path) -> str:
    (piece,) = find_sources(STORAGE, str(planted.folder)).pieces
    listed = list_images(read_source(STORAGE, piece, "image"))
    uri = str(tmp_path / "listing.parquet")
    tables.write_table(STORAGE, uri, tables.rows_to_table(listed, LISTING))
    return uri


def counted(listing: str, folder: Path, parts: int, wanted: set[int]) -> dict[str, int]:
    """Run the stage; its counters."""
    transform = RefsToDescriptions(STORAGE, SETUP, "image", str(folder), parts, wanted)
    pipeline = beam.Pipeline(options=RUNNER)
    _ = pipeline | beam.Create([None, listing]) | transform
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(MetricsFilter().with_namespace("copydetect"))["counters"]
    return {counter.key.metric.name: counter.result for counter in found}


def test_it_counts_what_it_describes_and_what_fails(listing: str, tmp_path: Path) -> None:
    counters = counted(listing, tmp_path, 3, {0, 1, 2})
    assert counters == {"images_described": 13, "images_failed": 2}
    assert not (tmp_path / "descriptors").exists()


def test_only_wanted_parts_are_written_and_empty_ones_have_files(
    listing: str, tmp_path: Path
) -> None:
    parts = 64
    counted(listing, tmp_path, parts, set(range(0, parts, 2)))
    uris = [part_uri(str(tmp_path), "images", "image", part) for part in range(parts)]
    assert [Path(uri).exists() for uri in uris] == [True, False] * (parts // 2)
    rows = [tables.read_table(STORAGE, uri).num_rows for uri in uris[::2]]
    assert 0 in rows
    assert 0 < sum(rows) < 13


def test_an_image_that_ends_its_process_is_a_failure_and_the_others_are_described(
    planted: Planted, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        shutil.copy(planted.folder / name, folder)
    shutil.copy(planted.folder / "3.jpg", folder / DeadlyStorage.name)
    (piece,) = find_sources(STORAGE, str(folder)).pieces
    uri = str(tmp_path / "listing.parquet")
    listed = list_images(read_source(STORAGE, piece, "image"))
    tables.write_table(STORAGE, uri, tables.rows_to_table(listed, LISTING))
    processes = Processes(2)
    storage = DeadlyStorage()
    out = str(tmp_path / "out")
    transform = RefsToDescriptions(storage, SETUP, "image", out, 2, {0, 1}, processes)
    with beam.Pipeline(options=RUNNER) as pipeline:
        _ = pipeline | beam.Create([None, uri]) | transform
    processes.stop()
    parts = [part_uri(out, "failures", "image", part) for part in range(2)]
    (failure,) = tables.read_tables(STORAGE, parts, tables.FAILURES).to_pylist()
    assert failure["image_id"] == DeadlyStorage.name
    assert (failure["stage"], failure["error_type"]) == ("decode", "WorkerError")
    images = [part_uri(out, "images", "image", part) for part in range(2)]
    rows = tables.read_tables(STORAGE, images, tables.IMAGES).to_pylist()
    statuses = {row["image_id"]: row["status"] for row in rows}
    assert statuses == {"0.jpg": "ok", "1.jpg": "ok", "2.jpg": "ok", DeadlyStorage.name: "failed"}
