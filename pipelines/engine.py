"""Where a job runs: the engine's options, one Beam pipeline a stage, and what goes wrong there."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import sys
import time
import traceback
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

from copydetect.errors import CopydetectError, InputError, ModelError, OptionError
from copydetect.transforms.downloads import DEFAULT_LIMIT_GB, LIMIT_VARIABLE
from copydetect.transforms.processes import Processes
from pipelines.progress import progress_bar

EXIT_DONE, EXIT_FAILED, EXIT_BAD_ARGUMENTS, EXIT_TOO_MANY_FAILURES = 0, 1, 2, 3

_LOCAL_RUNNER = "FnApiRunner"
_NEVER_MSEC = 10**9


class StageError(CopydetectError):
    """A stage's pipeline did not finish; the message says which, and the first cause."""


@dataclass
class Engine:
    """Runs the stages of a job, one Beam pipeline each, and keeps their wall times.

    flags: Beam's own options as given on the command line; seconds: wall time by stage.
    """

    flags: list[str]
    quiet: bool = False
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
                progress_bar(stage, total, unit, done, self.quiet, terminal),
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


def engine_of(beam_flags: list[str], quiet: bool, verbose: bool) -> Engine:
    """The engine for Beam's options on the command line; OptionError names one that Beam lacks.

    Without `--runner` the job runs here: Beam's in-process runner with a thread a processor.
    """
    _set_up_logging(verbose)
    _refuse_unknown(beam_flags)
    flags = list(beam_flags)
    if not any(flag.split("=")[0] == "--runner" for flag in flags):
        flags.append(f"--runner={_LOCAL_RUNNER}")
    _check_runner(flags)
    # Every second Beam's in-process runner sends what its buffers hold, even half an element, which
    # cannot be read. Full and finished buffers are sent between elements, and are all it takes.
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = _NEVER_MSEC
    given = {flag.split("=")[0] for flag in flags}
    if "--direct_num_workers" not in given:
        flags.append(f"--direct_num_workers={cpu_count()}")
    if "--direct_running_mode" not in given:
        flags.append("--direct_running_mode=multi_threading")
    return Engine(flags, quiet, verbose)


def exit_code_of(job: Callable[[], int], verbose: bool) -> int:
    """Run a job; expected errors become one line on standard error and an exit code."""
    try:
        code = job()
        # After an error, others may be at work yet: they end with this process.
        Processes().stop()
        return code
    except (InputError, OptionError, ModelError) as error:
        code = EXIT_BAD_ARGUMENTS
        message = str(error)
    except CopydetectError as error:
        code = EXIT_FAILED
        message = str(error)
    except OSError as error:
        code, message = (
            EXIT_FAILED,
            f"{error.strerror or error}: {error.filename or ''}".rstrip(": "),
        )
    except KeyboardInterrupt:
        code, message = EXIT_FAILED, "interrupted; the same command continues where it stopped"
    if verbose:
        traceback.print_exc()
    print(f"copydetect: {message}", file=sys.stderr)
    return code


def parser_of(command: str, description: str) -> argparse.ArgumentParser:
    """A parser that takes no abbreviations and has the options that every job shares."""
    parser = argparse.ArgumentParser(
        prog=f"copydetect {command}",
        description=description,
        allow_abbrev=False,
        epilog="Options of Apache Beam (--runner, --temp_location, …) are passed through. Workers "
        f"keep what they download in their temporary folder, {DEFAULT_LIMIT_GB:g} GB at most, or "
        f"as many as the environment variable {LIMIT_VARIABLE} says.",
    )
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("--quiet", action="store_true", help="print errors only")
    volume.add_argument("--verbose", action="store_true", help="say what happens, with tracebacks")
    return parser


def _refuse_unknown(beam_flags: list[str]) -> None:
    stray = [flag for flag in beam_flags if not flag.startswith("--")]
    values = {beam_flags[i + 1] for i, flag in enumerate(beam_flags[:-1]) if flag.startswith("--")}
    for word in stray:
        if word not in values:
            raise OptionError(f"unknown argument: {word}")
    options = PipelineOptions(beam_flags)
    everything = options.get_all_options(retain_unknown_options=True)
    unknown = sorted(set(everything) - set(options.get_all_options()))
    if unknown:
        raise OptionError(f"unknown option: --{unknown[0]}")


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
