"""The stage that describes: what it writes, counts and leaves alone."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from copydetect import tables
from copydetect.description.describing import DescriberOptions
from copydetect.inputs.sources import find_sources, read_source
from copydetect.parts import LISTING, list_images
from copydetect.transforms.refs_to_descriptions import (
    DescriberSetup,
    RefsToDescriptions,
    part_uri,
)
from tests.conftest import STORAGE, Planted

SETUP = DescriberSetup(DescriberOptions(), None, "", "cpu", local=True)
RUNNER = PipelineOptions(["--runner=FnApiRunner"])


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
    _ = pipeline | beam.Create([listing]) | transform
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
