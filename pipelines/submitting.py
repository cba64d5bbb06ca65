"""Run a job on an engine: name its dashboard, wait for it, cancel it with this process, explain its
failure."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, TestOptions

from copydetect.errors import DryRun

from .dashboards import Dashboard

_LACKING = re.compile(r"No module named '(copydetect[\w.]*)'")
_ANOTHER = re.compile(r"(?:Can't get attribute|cannot import name) .*'copydetect[.']")
_WORKER_GONE = re.compile(
    r"[Hh]eartbeat of TaskManager|TaskManager .* (?:no longer reachable|lost)|"
    r"Connection unexpectedly closed by remote task manager|TaskExecutor is shutting down|"
    r"minimum required resources|Ask timed out on |UNAVAILABLE: |client cancelled|"
    r"recipient is unreachable|call already (?:half-)?(?:closed|cancelled)"
)
"""What Flink, and gRPC between it and its workers, say of one that has gone."""
_BY_THE_ENGINE = "failed in state "
_OF_A_STEP = re.compile(
    r"Error received from SDK harness|Traceback \(most recent|\[while running '"
)
_IN_VAIN = re.compile(
    r"Insufficient number of network buffers|ClassNotFoundException|NoSuchMethodError|"
    r"UnsupportedClassVersionError|InvalidProgramException|UnsupportedOperationException|"
    r"StackOverflowError"
)
"""What Flink says where it would fail again: a setting or a library is wrong, or too little."""
_TRIES = 3
_OF_JAVA = re.compile(r"^(?:[\w$]+\.)+[\w$]*(?:Exception|Error): ")
_OF_BEAM = re.compile(r"^Pipeline \S+ failed in state [A-Z]+: ")
_OF_PYTHON = re.compile(r"^(?:RuntimeError|copydetect\.[\w.]+): ")
_FRAME = (" ", "\t", "Traceback", "\tat ", "Caused by: ", "... ")


@dataclass(frozen=True)
class Submitted:
    """Submits the jobs of a run. tell: says so to the user; dashboard: of Flink's cluster, where it
    is known; server: of the job server, "" where this process runs the job."""

    tell: Callable[[str], None]
    dashboard: Dashboard | None = None
    server: str = ""

    def run(
        self, pipeline: beam.Pipeline, name: str, tries: int = _TRIES
    ) -> tuple[Any, str | None]:
        """Submit a job and wait for its end; its result and state.

        A job that has lost a worker, or that failed without an error of one of its steps, is run
        again, unless it could not but fail again: Flink's runner lets batch jobs fail at once,
        whatever `--number_of_execution_retries` says (measured with Beam 2.70), and has many words
        for what it has lost. DryRun where the engine was only to translate it.
        """
        try:
            return self._run_once(pipeline, name)
        except Exception as error:
            if not self.server or tries < 2 or not _has_lost_a_worker(error):
                raise
        self.tell(f"job {name} failed in the engine, as when a worker is lost, and is run again")
        return self.run(pipeline, name, tries - 1)

    def _run_once(self, pipeline: beam.Pipeline, name: str) -> tuple[Any, str | None]:
        """Where this process is asked to end meanwhile, the job is cancelled first."""
        result = pipeline.run()
        if pipeline.options.view_as(TestOptions).dry_run:
            raise DryRun(
                f"dry run: {name} was translated and not submitted; the jobs that follow need what "
                "it writes"
            )
        try:
            if place := self._place(pipeline, result):
                self.tell(f"job {name}: {place}")
            return result, result.wait_until_finish()
        except BaseException as error:
            if interrupt_behind(error) is not None:
                self._cancel(result, name)
            raise

    def where_to_look(self, name: str) -> str:
        """Two lines for who wants to know why a job failed, "" where this process ran it."""
        if not self.server:
            return ""
        at = self.dashboard.page_of(name) if self.dashboard else f"job server {self.server}"
        more = "" if self.dashboard else "; its log and those of the workers say more"
        return f"\njob {name}\nlog {at}{more}"

    def _place(self, pipeline: beam.Pipeline, result: Any) -> str:
        if self.dashboard is not None:
            return self.dashboard.address
        if hasattr(result, "job_id"):
            return _dataflow_page(pipeline.options.view_as(GoogleCloudOptions), result.job_id())
        return f"job server {self.server}" if self.server else ""

    def _cancel(self, result: Any, name: str) -> None:
        """Whatever goes wrong here, the user wants to leave."""
        with contextlib.suppress(Exception, KeyboardInterrupt):
            if hasattr(result, "cancel"):
                result.cancel()
        if self.dashboard is not None:
            self.dashboard.cancel(name)


def _dataflow_page(cloud: GoogleCloudOptions, job: str) -> str:
    """Where Google's console shows a job of Dataflow."""
    place = f"{cloud.region}/{job}?project={cloud.project}"
    return f"https://console.cloud.google.com/dataflow/jobs/{place}"


def interrupt_behind(error: BaseException) -> KeyboardInterrupt | None:
    """The request to end that Beam has taken for an error of the step that it came in."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _has_lost_a_worker(error: Exception) -> bool:
    if interrupt_behind(error) is not None:
        return False
    text = str(error)
    mended = not (_OF_A_STEP.search(text) or _IN_VAIN.search(text))
    failed_itself = _BY_THE_ENGINE in text and mended
    return failed_itself or bool(_WORKER_GONE.search(_last_line(error)))


def innermost_cause(error: BaseException) -> str:
    """The message that a person can act on, out of the nested tracebacks of Beam and of Java."""
    line = _last_line(error)
    if lacking := _LACKING.search(line):
        return (
            f"the workers have no module {lacking[1]}: install the same version of "
            "copydetect-images there as here"
        )
    if _ANOTHER.search(line):
        return f"the workers have another version of copydetect-images than is here ({line})"
    if _WORKER_GONE.search(line):
        return f"a worker was lost ({line}); the same command continues where it stopped"
    return line


def _last_line(error: BaseException) -> str:
    """The last line that is no frame of a traceback nor the quotes around that of another process,
    without the names of wrapping errors."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause).strip() or type(cause).__name__
    lines = [line for line in text.splitlines() if line.strip('"') and not line.startswith(_FRAME)]
    line = (lines[-1] if lines else text).split(" [while running")[0]
    line = _OF_BEAM.sub("", line)
    while (shorter := _OF_PYTHON.sub("", _OF_JAVA.sub("", line))) != line:
        line = shorter
    return line.strip()
