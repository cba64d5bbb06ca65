"""Engines that take jobs from a job server: options, names, paths."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import apache_beam as beam
import pytest
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import FlinkRunnerOptions

from copydetect import __version__
from copydetect.errors import OptionError, TransientError
from copydetect.options import EngineOptions, RunOptions
from copydetect.pipelines import engine as engines
from copydetect.pipelines.chains import Stage, package_check
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


WITHOUT_THE_PACKAGE = """
import sys
sys.modules["copydetect"] = None
from apache_beam.internal import pickler
try:
    pickler.loads(open(sys.argv[1], "rb").read()).start_bundle()
except RuntimeError as error:
    print(error)
"""


def test_workers_without_the_package_or_with_another_version_are_told(tmp_path: Path) -> None:
    """What asks for it must be loaded where it is not: Flink would wait for minutes."""
    sent = tmp_path / "check"
    sent.write_bytes(pickler.dumps(package_check("9.8.7")))
    code = [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(sent)]
    said = subprocess.run(code, capture_output=True, text=True, check=True).stdout
    assert said.startswith("the workers have no copydetect-images, and the job was submitted by 9")
    with pytest.raises(
        RuntimeError, match=f"the workers have copydetect-images {__version__}, and"
    ):
        pickler.loads(sent.read_bytes()).start_bundle()
    package_check(__version__).start_bundle()


def test_workers_elsewhere_are_asked_for_the_package_by_the_first_job(
    server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def submit(_: Submitted, pipeline: beam.Pipeline, name: str) -> tuple[object, str]:
        steps = [step.full_label for step in pipeline.transforms_stack[0].parts]
        asked.append("check workers" in steps)
        nothing = SimpleNamespace(query=lambda _: {"counters": []})
        return SimpleNamespace(metrics=lambda: nothing), "DONE"

    monkeypatch.setattr(Submitted, "run", submit)
    stage = Stage("idle", lambda one: one, None, Progress("idle"))
    engine = portable()
    for job in ("first", "second"):
        engine.run_stages(job, [stage])
    assert asked == [True, False]
    monkeypatch.setattr(engines, "job_server_of", lambda runner, flags: None)
    engine_of(EngineOptions(workers=2)).run_stages("here", [stage])
    assert asked == [True, False, False]
