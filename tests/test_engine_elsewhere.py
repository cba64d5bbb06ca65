"""Engines that take jobs from a job server: options, names, paths."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import FlinkRunnerOptions

from copydetect.errors import OptionError, TransientError
from copydetect.options import EngineOptions, RunOptions
from copydetect.pipelines import engine as engines
from copydetect.pipelines.chains import Stage
from copydetect.pipelines.engine import Engine, StageError, engine_of, job_name
from copydetect.pipelines.job_servers import Server
from copydetect.pipelines.outputs import whole_path, with_whole_paths
from copydetect.pipelines.progress import Progress
from copydetect.pipelines.submitting import Submitted

ENDPOINT = "localhost:8099"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job server that knows one option of its own."""
    described = Server(ENDPOINT, frozenset({"number_of_execution_retries"}))
    monkeypatch.setattr(engines, "job_server_of", lambda runner, flags: described)


def portable(*flags: str) -> Engine:
    return engine_of(
        EngineOptions(("--runner=PortableRunner", f"--job_endpoint={ENDPOINT}", *flags))
    )


def test_options_that_the_job_server_knows_pass(server: None) -> None:
    assert "--number_of_execution_retries=5" in portable("--number_of_execution_retries=5").flags
    with pytest.raises(OptionError, match=r"did you mean .*number_of_execution_retries"):
        portable("--number_of_execution_retrys=5")


def test_beams_own_options_pass_through(server: None) -> None:
    engine = portable("--parallelism=2")
    assert {"--runner=PortableRunner", f"--job_endpoint={ENDPOINT}"} <= set(engine.flags)
    assert "--parallelism=2" in engine.flags
    assert engine.workers == 0


def test_what_a_small_cluster_does_best_with_is_set_unless_it_is_given(server: None) -> None:
    flags = portable().flags
    assert "--environment_cache_millis=60000" in flags
    flags = portable("--environment_cache_millis=7").flags
    assert [flag for flag in flags if "cache_millis" in flag] == ["--environment_cache_millis=7"]


def test_no_more_workers_are_asked_for_than_there_are_parts(
    server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def submit(_: Submitted, pipeline: beam.Pipeline, name: str) -> None:
        asked.append(pipeline.options.view_as(FlinkRunnerOptions).parallelism)
        raise ValueError(name)

    monkeypatch.setattr(Submitted, "run", submit)
    stage = Stage("idle", lambda one: one, None, Progress("idle"))
    for parts in (6, 16, 0):
        with pytest.raises(StageError):
            portable("--parallelism=8").run_stages("idle", [stage], parts)
    assert asked == [6, 8, 8]


def test_a_job_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copydetect.pipelines.job_servers._ANSWERS_SEC", 1)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        endpoint = f"localhost:{free.getsockname()[1]}"
    with pytest.raises(TransientError, match=endpoint):
        engine_of(EngineOptions(("--runner=PortableRunner", f"--job_endpoint={endpoint}")))


def test_jobs_are_named_by_run_and_stage(server: None) -> None:
    assert job_name("copydetect-dedup-0a1b", "search keypoints") == (
        "copydetect-dedup-0a1b-search-keypoints"
    )
    assert portable("--job_name=Tonight").name == "Tonight"


@pytest.mark.parametrize(
    ("flags", "elsewhere"),
    [((), True), (("--environment_type=LOOPBACK",), False), (("--flink_master=[local]",), False)],
)
def test_workers_may_be_on_other_machines(
    server: None, flags: tuple[str, ...], elsewhere: bool
) -> None:
    assert portable(*flags).is_elsewhere == elsewhere
    assert not engine_of(EngineOptions()).is_elsewhere


def test_paths_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.safetensors").write_bytes(b"")
    assert whole_path("out") == os.path.join(tmp_path, "out")
    assert whole_path("gs://bucket/out") == "gs://bucket/out"
    options = with_whole_paths(RunOptions(model="mine.safetensors"))
    assert options.model == str(tmp_path / "mine.safetensors")
    assert with_whole_paths(RunOptions()) == RunOptions()
