"""Jobs in the hands of an engine: where they are seen, how they are ended, why they failed."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from typing import Any, ClassVar

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from copydetect.errors import DryRun, OptionError
from copydetect.options import EngineOptions
from copydetect.pipelines import engine as engines
from copydetect.pipelines.dashboards import Dashboard, dashboard_of
from copydetect.pipelines.engine import Engine, StageError, engine_of
from copydetect.pipelines.exit_codes import DONE, code_of
from copydetect.pipelines.job_servers import Server
from copydetect.pipelines.submitting import Submitted, innermost_cause

NAME = "copydetect-dedup-0a1b-verify"


class Cluster(BaseHTTPRequestHandler):
    """The answers of Flink's REST interface that are asked for; keeps what was asked."""

    asked: ClassVar[list[str]] = []
    jobs: ClassVar[list[dict[str, Any]]] = [
        {"jid": "old", "name": NAME, "state": "FAILED", "start-time": 1},
        {"jid": "new", "name": NAME, "state": "RUNNING", "start-time": 2},
        {"jid": "other", "name": "somebody-else", "state": "RUNNING", "start-time": 3},
    ]
    managers: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        answers = {
            "/overview": {"slots-total": 7},
            "/jobs/overview": {"jobs": self.jobs},
            "/taskmanagers": {"taskmanagers": self.managers},
        }
        body = json.dumps(answers.get(self.path, {})).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def do_PATCH(self) -> None:
        self.asked.append(self.path)
        self.send_response(202)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    Cluster.asked.clear()
    with ThreadingHTTPServer(("localhost", 0), Cluster) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Dashboard(f"http://localhost:{server.server_address[1]}")
        server.shutdown()


def test_a_cluster_tells_its_slots_and_which_job_is_which(dashboard: Dashboard) -> None:
    assert dashboard.slots() == 7
    assert dashboard.job(NAME) == "new"
    assert dashboard.page_of(NAME).endswith("/#/job/completed/new/exceptions")
    assert dashboard.page_of("none") == dashboard.address
    assert dashboard.cancel(NAME)
    assert Cluster.asked == ["/jobs/new?mode=cancel"]


def test_a_cluster_that_is_not_there_tells_nothing() -> None:
    nobody = Dashboard("http://localhost:9")
    assert nobody.slots() == 0
    assert nobody.page_of(NAME) == nobody.address
    assert not nobody.cancel(NAME)


@pytest.mark.parametrize(
    ("flag", "address"),
    [
        ("--flink_master=flink:8081", "http://flink:8081"),
        ("--flink_master=https://flink/", "https://flink"),
        ("--flink_master=[local]", None),
        ("--parallelism=2", None),
    ],
)
def test_the_master_names_the_dashboard(flag: str, address: str | None) -> None:
    found = dashboard_of([flag])
    assert (found.address if found else None) == address


def test_as_many_workers_are_asked_for_as_the_cluster_has_slots(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = Server("localhost:8099", frozenset())
    monkeypatch.setattr(engines, "job_server_of", lambda runner, flags: described)
    master = f"--flink_master={dashboard.address}"
    for runner in ("FlinkRunner", "flink"):
        assert "--parallelism=7" in engine_of(EngineOptions((f"--runner={runner}", master))).flags
    given = engine_of(EngineOptions(("--runner=FlinkRunner", master, "--parallelism=2"))).flags
    assert [flag for flag in given if "parallelism" in flag] == ["--parallelism=2"]


@pytest.mark.parametrize(
    ("slots", "network_mb", "asked", "fitting"),
    [
        ((1, 1), 172, 2, 2),
        ((4, 4), 172, 8, 8),
        ((8, 8), 172, 16, 6),
        ((8, 8), 172, 5, 5),
        ((8, 8), 256, 16, 16),
        ((8, 8), 20, 16, 1),
    ],
)
def test_no_more_parts_are_worked_on_at_once_than_there_is_network_memory_for(
    dashboard: Dashboard,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    slots: tuple[int, ...],
    network_mb: int,
    asked: int,
    fitting: int,
) -> None:
    memory = {"networkMemory": network_mb << 20}
    managers = [{"slotsNumber": number, "memoryConfiguration": memory} for number in slots]
    monkeypatch.setattr(Cluster, "managers", managers)
    described = Server("localhost:8099", frozenset())
    monkeypatch.setattr(engines, "job_server_of", lambda runner, flags: described)
    master = f"--flink_master={dashboard.address}"
    options = (f"--parallelism={asked}", master, "--runner=PortableRunner")
    flags = engine_of(EngineOptions(options, progress=True)).flags
    assert [flag for flag in flags if "parallelism" in flag] == [f"--parallelism={fitting}"]
    said = capsys.readouterr().err
    assert ("network memory" in said) == (fitting < asked)
    if fitting < asked:
        assert f"for {fitting} parts at once, not for {asked}" in said
        assert "network.min and max of 225m" in said


class Remote:
    """What a runner gives for a job that it has submitted."""

    def __init__(self, ends: BaseException | None = None) -> None:
        self.ends = ends
        self.cancelled = False

    def wait_until_finish(self) -> str:
        if self.ends is not None:
            raise self.ends
        return "DONE"

    def cancel(self) -> None:
        self.cancelled = True
        raise RuntimeError("the job server has gone")


def _pipeline(result: object, monkeypatch: pytest.MonkeyPatch, *flags: str) -> beam.Pipeline:
    pipeline = beam.Pipeline(options=PipelineOptions(list(flags)))
    monkeypatch.setattr(pipeline, "run", lambda: result)
    return pipeline


def test_ending_the_command_ends_its_job(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    result = Remote(KeyboardInterrupt())
    submitted = Submitted(said.append, dashboard, "localhost:8099")
    with pytest.raises(KeyboardInterrupt):
        submitted.run(_pipeline(result, monkeypatch), NAME)
    assert result.cancelled
    assert Cluster.asked == ["/jobs/new?mode=cancel"]
    assert said == [f"job {NAME}: {dashboard.address}"]


def test_a_job_that_fails_is_not_cancelled(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Remote(RuntimeError("no such number"))
    with pytest.raises(RuntimeError, match="no such number"):
        Submitted(print, dashboard, "s").run(_pipeline(result, monkeypatch), NAME)
    assert not result.cancelled
    assert not Cluster.asked


LOST = [
    "java.util.concurrent.ExecutionException: CANCELLED: client cancelled",
    "Pipeline 1_2 failed in state FAILED: CANCELLED: call already cancelled. Use "
    "ServerCallStreamObserver.setOnCancelHandler() to disable this exception",
    "Pipeline 1_2 failed in state FAILED: org.apache.flink.runtime.rpc.exceptions."
    "RecipientUnreachableException: Could not send message, because the recipient is unreachable",
    "Pipeline 1_2 failed in state FAILED: java.io.IOException: words that nobody has seen yet",
]


@pytest.mark.parametrize(("losses", "ends"), [(2, True), (3, False)])
@pytest.mark.parametrize("text", LOST)
def test_a_job_that_has_lost_a_worker_is_run_again(
    losses: int, ends: bool, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    lost = RuntimeError(text)
    results = iter([*(Remote(lost) for _ in range(losses)), Remote()])
    pipeline = _pipeline(None, monkeypatch)
    monkeypatch.setattr(pipeline, "run", lambda: next(results))
    submitted = Submitted(said.append, server="flink:8099")
    if ends:
        assert submitted.run(pipeline, NAME)[1] == "DONE"
    else:
        with pytest.raises(RuntimeError, match=re.escape(text)):
            submitted.run(pipeline, NAME)
    again = f"job {NAME} failed in the engine, as when a worker is lost, and is run again"
    assert said.count(again) == 2


FAILED = "Pipeline 1_2 failed in state FAILED: "
FLINK_SAYS_NO = [
    "java.io.IOException: Insufficient number of network buffers: required 512, but only 363 "
    "available.",
    "java.lang.ClassNotFoundException: org.apache.beam.runners.flink.Gone",
    "java.lang.StackOverflowError",
]


@pytest.mark.parametrize("index", range(4))
def test_a_job_that_would_fail_again_is_not_run_again(
    index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = [JAVA, *(f"{FAILED}{one}" for one in FLINK_SAYS_NO)][index]
    said: list[str] = []
    with pytest.raises(RuntimeError, match=re.escape(text.splitlines()[0])):
        Submitted(said.append, server="flink:8099").run(
            _pipeline(Remote(RuntimeError(text)), monkeypatch), NAME
        )
    assert not [line for line in said if "again" in line]


def test_a_job_here_is_not_pointed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    submitted = Submitted(said.append)
    assert submitted.run(_pipeline(Remote(), monkeypatch), NAME)[1] == "DONE"
    assert (said, submitted.where_to_look(NAME)) == ([], "")


def test_a_failed_job_elsewhere_is_told_in_three_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(
            "Pipeline 17 failed in state FAILED: java.lang.RuntimeException: no disk"
        )

    monkeypatch.setattr(beam.Pipeline, "run", fail)
    engine = Engine([], server=Server("flink:8099", frozenset()), name="copydetect-dedup-0a1b")
    with pytest.raises(StageError) as caught:
        engine.run("verify", lambda pipeline: pipeline | beam.Create([1]))
    first, second, third = str(caught.value).splitlines()
    assert first == "stage verify failed: no disk"
    assert second == f"job {NAME}"
    assert third.startswith("log job server flink:8099")


JAVA = """Pipeline 1_2 failed in state FAILED: java.lang.RuntimeException: Error received from SDK \
harness for instruction 5: Traceback (most recent call last):
  File "/usr/lib/python3/sdk_worker.py", line 300, in _execute
    response = task()
               ^^^^^^
ValueError: no such number: 7 [while running 'verify/work']
\tat org.apache.beam.Something.run(Something.java:17)
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (JAVA, "ValueError: no such number: 7"),
        ("RuntimeError: copydetect.errors.ModelError: m.bin is no model", "m.bin is no model"),
        ("java.io.IOException: java.lang.Exception: no room", "no room"),
        (
            "x\nModuleNotFoundError: No module named 'copydetect'",
            "the workers have no module copydetect: install the same version of "
            "copydetect-images there as here",
        ),
        (
            "AttributeError: Can't get attribute 'New' on <module 'copydetect.new' from 'new.py'>",
            "the workers have another version of copydetect-images than is here (AttributeError: "
            "Can't get attribute 'New' on <module 'copydetect.new' from 'new.py'>)",
        ),
        (
            "org.apache.beam.StatusRuntimeException: CANCELLED: client cancelled",
            "a worker was lost (CANCELLED: client cancelled); the same command continues where "
            "it stopped",
        ),
    ],
)
def test_the_innermost_cause_is_told(text: str, cause: str) -> None:
    assert innermost_cause(RuntimeError(text)) == cause


def test_what_failed_in_another_process_is_told() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = pool.submit(os.listdir, "/no/such/folder")
        with pytest.raises(OSError, match="No such file") as failed:
            found.result()
    assert "No such file or directory: '/no/such/folder'" in innermost_cause(failed.value)


def test_a_dry_run_ends_well_and_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DryRun, match=f"{NAME} was translated and not submitted") as caught:
        Submitted(print).run(_pipeline(Remote(), monkeypatch, "--dry_run=True"), NAME)
    assert code_of(caught.value) == DONE
    with pytest.raises(OptionError, match="FnApiRunner would run all the same"):
        engine_of(EngineOptions(("--dry_run=True",)))
