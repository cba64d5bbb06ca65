"""Where a job runs: the engine's options, one Beam pipeline a stage, and what goes wrong there."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.runner import create_runner
from loky import cpu_count

from copydetect.errors import CopydetectError, OptionError
from copydetect.options import EngineOptions
from copydetect.transforms.processes import Processes
from pipelines.arguments import refuse_unknown_flags
from pipelines.progress import progress_told

_LOCAL_RUNNER = "FnApiRunner"
_NEVER_MSEC = 10**9


class StageError(CopydetectError):
    """A stage's pipeline did not finish; the message says which, and the first cause."""


@dataclass
class Engine:
    """Runs the stages of a job, one Beam pipeline each, and keeps their wall times.

    flags: Beam's own options; progress: whether it is told; seconds: wall time by stage.
    """

    flags: list[str]
    progress: bool = False
    verbose: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def processes(self) -> Processes:
        """As many as there are threads, where a job runs in threads of this process."""
        options = PipelineOptions(self.flags)
        direct = options.view_as(DirectOptions)
        local = options.view_as(StandardOptions).runner == _LOCAL_RUNNER
        threads = local and direct.direct_running_mode == "multi_threading"
        return Processes(direct.direct_num_workers if threads else 0)

    def fork(self) -> None:
        """Start the processes, if nothing else runs in this one yet: later it takes seconds."""
        with _muted(self.verbose):
            self.processes.fork()

    def run(
        self,
        stage: str,
        build: Callable[[beam.Pipeline], object],
        total: int = 0,
        unit: str = "images",
        done: Callable[[], int] = lambda: 0,
    ) -> None:
        """Build and run one pipeline to its end; StageError where it fails."""
        started = time.monotonic()
        try:
            with (
                _muted(self.verbose) as terminal,
                progress_told(stage, total, unit, done, self.progress, terminal),
            ):
                pipeline = beam.Pipeline(options=PipelineOptions(self.flags))
                build(pipeline)
                result = pipeline.run()
                state = result.wait_until_finish()
        except Exception as error:
            logging.getLogger(__name__).debug("stage %s", stage, exc_info=True)
            raise StageError(f"stage {stage} failed: {_first_cause(error)}") from error
        if state not in ("DONE", None):
            raise StageError(f"stage {stage} ended as {state}")
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started


def engine_of(options: EngineOptions) -> Engine:
    """The engine that options ask for; OptionError names a flag that Beam does not know.

    Without a runner the job runs here: Beam's in-process runner with a thread a processor.
    """
    _set_up_logging(options.verbose)
    flags = list(options.flags)
    refuse_unknown_flags(flags, PipelineOptions([]).get_all_options())
    given = {flag.split("=")[0] for flag in flags}
    if "--runner" not in given:
        flags.append(f"--runner={_LOCAL_RUNNER}")
    _check_runner(flags)
    # Every second Beam's in-process runner sends what its buffers hold, even half an element, which
    # cannot be read. Full and finished buffers are sent between elements, and are all it takes.
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = _NEVER_MSEC
    if "--direct_num_workers" not in given:
        flags.append(f"--direct_num_workers={options.workers or cpu_count()}")
    if "--direct_running_mode" not in given:
        flags.append("--direct_running_mode=multi_threading")
    flags.append("--no_pipeline_type_check")
    return Engine(flags, options.progress, options.verbose)


def _check_runner(flags: list[str]) -> None:
    name = PipelineOptions(flags).view_as(StandardOptions).runner
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise OptionError(f"--runner {name} is not there: {error}") from error


def _set_up_logging(verbose: bool) -> None:
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger().setLevel(logging.INFO if verbose else logging.ERROR)
    # A failed stage raises; Beam's own report of it is a page of frames.
    logging.getLogger("apache_beam").setLevel(logging.INFO if verbose else logging.CRITICAL)


def _first_cause(error: BaseException) -> str:
    """The message that a person can act on, out of Beam's nested tracebacks."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause).strip() or type(cause).__name__
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "Traceback"))]
    line = (lines[-1] if lines else text).split(" [while running")[0]
    return re.sub(r"^(RuntimeError|copydetect\.[\w.]+): ", "", line)


@contextlib.contextmanager
def _muted(verbose: bool) -> Iterator[TextIO]:
    """Keep what Beam's workers and decoders print off standard error; gives a way to write there.

    Beam prints tracebacks whatever the logging level, and libraries in C warn of damaged images.
    """
    if verbose:
        yield sys.stderr
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with os.fdopen(kept, "w") as terminal, open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            with contextlib.redirect_stderr(nowhere):
                yield terminal
        finally:
            os.dup2(kept, 2)
