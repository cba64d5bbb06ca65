"""The transforms in a pipeline that is not the project's: what they give is what a run gives."""

from __future__ import annotations

import json
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.utils import proto_utils

from copydetect import transforms
from copydetect.errors import InputError, OptionError
from copydetect.options import RunOptions
from tests.conftest import Planted, Run


def written(folder: Path, name: str) -> list[dict[str, object]]:
    rows = [json.loads(line) for file in folder.glob(f"{name}*") for line in file.open()]
    return sorted(rows, key=repr)


def test_groups_of_a_pipeline_of_ones_own(planted: Planted, run: Run, tmp_path: Path) -> None:
    with beam.Pipeline("FnApiRunner") as pipeline:
        found = pipeline | transforms.DedupImages(
            str(planted.folder), str(tmp_path / "work"), parts=3
        )
        for name, rows in found.items():
            lines = rows | f"{name} as text" >> beam.Map(json.dumps)
            _ = lines | f"write {name}" >> beam.io.WriteToText(str(tmp_path / name))
    for name in ("groups", "matches", "failures"):
        assert written(tmp_path, name) == json.loads(json.dumps(run.rows(name))), name
    (kept,) = {row["kept_id"] for row in written(tmp_path, "groups") if row["image_id"] == "0.jpg"}
    assert kept == "0.jpg"


def test_a_collection_of_unreadable_files_has_failures_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(b"\xff\xd8\xff" + name.encode() * 9)
    with beam.Pipeline("FnApiRunner") as pipeline:
        found = pipeline | transforms.DedupImages(
            str(tmp_path / "photos"), str(tmp_path / "work"), parts=2
        )
        for name, rows in found.items():
            lines = rows | f"{name} as text" >> beam.Map(json.dumps)
            _ = lines | f"write {name}" >> beam.io.WriteToText(str(tmp_path / name))
    assert [row["image_id"] for row in written(tmp_path, "failures")] == ["a.jpg", "b.jpg", "c.jpg"]
    assert written(tmp_path, "groups") == written(tmp_path, "matches") == []


def test_it_has_one_source_and_no_side_inputs(planted: Planted, tmp_path: Path) -> None:
    """Flink starts all sources at once, and keeps what side inputs wait for in few buffers."""
    pipeline = beam.Pipeline()
    _ = pipeline | transforms.DedupImages(str(planted.folder), str(tmp_path / "work"), parts=3)
    steps = pipeline.to_runner_api().components.transforms.values()
    assert sum(step.spec.urn == common_urns.primitives.IMPULSE.urn for step in steps) == 1
    for step in steps:
        if step.spec.urn == common_urns.primitives.PAR_DO.urn:
            payload = proto_utils.parse_Bytes(step.spec.payload, beam_runner_api_pb2.ParDoPayload)
            assert not payload.side_inputs, step.unique_name


def test_its_arguments_are_checked_when_it_is_made(planted: Planted, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="parts is 0"):
        transforms.DedupImages(str(planted.folder), str(tmp_path), parts=0)
    with pytest.raises(InputError, match="nowhere does not exist"):
        transforms.DedupImages(str(tmp_path / "nowhere"), str(tmp_path))
    with pytest.raises(OptionError, match="Fast"):
        transforms.DedupImages(str(planted.folder), str(tmp_path), RunOptions(index="Fast"))


def test_every_transform_is_exported() -> None:
    for name in transforms.__all__:
        assert issubclass(getattr(transforms, name), beam.PTransform)
    with pytest.raises(AttributeError, match="Nothing"):
        transforms.Nothing  # noqa: B018
