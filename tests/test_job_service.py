"""`dedup` through the portable job service: nothing depends on sharing a process with `main`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from copydetect import tables
from copydetect.description.describing import DescriberOptions
from copydetect.inputs.finding import find_sources
from copydetect.inputs.listing import LISTING, list_images
from copydetect.inputs.sources import read_source
from copydetect.parts import part_uri
from copydetect.pipelines import self_check, stages
from copydetect.pipelines.submitting import Submitted
from copydetect.storage.files import LocalStorage
from copydetect.transforms.refs_to_descriptions import DescriberSetup, RefsToDescriptions
from copydetect.workers.processes import Processes
from tests.conftest import STORAGE, Planted, Run, dedup_run

DEADLY = "deadly.jpg"


class DeadlyStorage(LocalStorage):
    """Whoever opens a file of this name is ended, as by a picture that breaks its decoder."""

    def open(self, uri: str) -> BinaryIO:
        if uri.endswith(DEADLY):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().open(uri)


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Address of a job service that runs for one test."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    service = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "apache_beam.runners.portability.local_job_service_main",
            "-p",
            str(port),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, service)
        yield f"localhost:{port}"
    finally:
        service.terminate()
        service.wait(30)


def _wait_for(port: int, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and service.poll() is None:
        with socket.socket() as attempt:
            if attempt.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail("the job service did not start")


@pytest.mark.parametrize("few", [True, False])
def test_the_job_service_gives_the_same_tables(
    planted: Planted,
    run: Run,
    endpoint: str,
    few: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether one worker lists and searches few images, or all do as they would many."""
    if not few:
        monkeypatch.setattr(stages, "FEW_PARTS", 0)
        monkeypatch.setattr(stages, "_LISTED_HERE", 0)
    flags = ["--runner=PortableRunner", f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK"]
    other = dedup_run(planted.folder, tmp_path / "out", *flags)
    assert other.results() == run.results()
    for name in ("images", "failures"):
        assert other.table(name).equals(run.table(name))


def test_planted_copies_set_the_threshold_within_the_only_job(
    planted: Planted, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[str] = []
    submit, judge = Submitted.run, self_check.judged

    def noted(submitted: Submitted, pipeline: beam.Pipeline, name: str) -> Any:
        jobs.append(name)
        return submit(submitted, pipeline, name)

    monkeypatch.setattr(Submitted, "run", noted)
    monkeypatch.setattr(self_check, "LEAST_IMAGES", 4)
    monkeypatch.setattr(self_check, "copies_to_plant", lambda _: 3)
    monkeypatch.setattr(
        self_check, "judged", lambda *found: replace(judge(*found), threshold=0.9876)
    )
    here = dedup_run(planted.folder, tmp_path / "here", "--effort=fast")
    jobs.clear()
    flags = ["--runner=PortableRunner", f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK"]
    there = dedup_run(planted.folder, tmp_path / "there", "--effort=fast", *flags)
    assert len(jobs) == 1
    assert repr(there.results()) == repr(here.results())  # as NaN is not itself
    assert there.manifest.check == here.manifest.check
    assert there.manifest.check is not None
    assert there.manifest.check.planted == 3
    verdicts = {bool(row["is_copy"]) for row in there.rows("matches")}
    assert verdicts == {True, False}
    for row in there.rows("matches"):
        assert row["is_copy"] == (row["confidence"] >= 0.9876)  # type: ignore[operator]


def test_a_picture_that_breaks_its_decoder_is_a_failure_on_a_worker_elsewhere(
    planted: Planted, endpoint: str, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        shutil.copy(planted.folder / name, folder)
    shutil.copy(planted.folder / "3.jpg", folder / DEADLY)
    (piece,) = find_sources(STORAGE, str(folder)).pieces
    uri = str(tmp_path / "listing.parquet")
    listed = list_images(read_source(STORAGE, piece, "image"))
    tables.write_table(STORAGE, uri, tables.rows_to_table(listed, LISTING))
    setup = DescriberSetup(DescriberOptions(), None, "", "cpu", local=True)
    out = str(tmp_path / "out")
    flags = ["--runner=PortableRunner", f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK"]
    children = Processes(of_worker=True)
    described = RefsToDescriptions(DeadlyStorage(), setup, "image", out, 1, {0}, children)
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        _ = pipeline | beam.Create([None, uri]) | described
    children.stop()
    (failure,) = tables.read_table(STORAGE, part_uri(out, "failures", "image", 0)).to_pylist()
    assert failure["image_id"] == DEADLY
    assert (failure["stage"], failure["error_type"]) == ("decode", "WorkerError")
    rows = tables.read_table(STORAGE, part_uri(out, "images", "image", 0)).to_pylist()
    statuses = {row["image_id"]: row["status"] for row in rows}
    assert statuses == {"0.jpg": "ok", "1.jpg": "ok", "2.jpg": "ok", DEADLY: "failed"}
