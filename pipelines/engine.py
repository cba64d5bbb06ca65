"""The engine that runs jobs: its options, one Beam pipeline per job, and its errors."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TextIO

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection
from apache_beam.runners.runner import create_runner
from loky import cpu_count

from copydetect.errors import CopydetectError, DryRun, OptionError
from copydetect.options import EngineOptions, LogFormat
from copydetect.storage.clients import reach_with
from copydetect.storage.scratch import adopt, remove_abandoned
from copydetect.transforms.on_one_worker import InTurn
from copydetect.workers.processes import Processes, begin_with
from copydetect.workers.threads import startable_threads

from .arguments import refuse_unknown_flags
from .beam_tuning import tune_beam
from .chains import (
    Stage,
    chain,
    do_in_turn,
    failed_stage,
    stage_cpu_seconds,
    stage_seconds,
)
from .dashboards import dashboard_of
from .job_servers import FLINK, PORTABLE, Server, job_server_of
from .logs import line_of, muted, set_up_logging
from .progress import Progress, show_progress
from .shutdown import end_if_asked
from .submitting import Submitted, innermost_cause, interrupt_behind

FEW_PARTS = 128
"""Parts of a collection of about 2,000 images. One worker searches it in some 10 s, and two of
Flink's take as many to exchange what they find, dozens of times; Beam's runner on this machine
takes 3 s for the exchanges of 84 images."""
_LOCAL_RUNNER, _DATAFLOW = "FnApiRunner", "DataflowRunner"
_HERE = {"[local]", "LOOPBACK", "EMBEDDED"}
"""Masters of Flink, and environments, whose workers see the same files as this process."""
_KEPT_WORKERS = ("--environment_cache_millis", "60000")
"""Else Flink starts workers anew for each of a job's steps, in seconds. Its runner knows workers by
the job that they are of (`ReferenceCountingExecutableStageContextFactory`), so that no setting
keeps them for the next job: a run is to be one job."""
_STEP_BY_STEP = ("--execution_mode_for_batch", "BATCH_FORCED")
"""Else Flink starts all steps of a job at once, for which a small cluster has too few buffers."""
_THREADS = 64
"""How many threads Beam's runner and gRPC start on this machine, with some to spare."""


class StageError(CopydetectError):
    """A stage's pipeline did not finish; the message says which, and the first cause."""


class ThreadsError(CopydetectError):
    """The system lets this process start too few threads."""


class _JobOptions(PipelineOptions):
    """Options of one job. Beam asks each step for its views of them, and each view parses them."""

    def view_as(self, cls: type[Any]) -> Any:
        """The same view each time: views share their values anyway."""
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]


@dataclass
class Engine:
    """Runs the stages of a run, in few jobs, and keeps their wall times.

    flags: Beam's own options; workers: processors to use here, 0 where another engine works or Beam
    was told how to; progress: whether it is told; server: of an engine that takes its jobs from
    one; name: what the names of its jobs begin with; seconds, cpu_seconds: wall time by stage, and
    the processor time of all workers that its parts took; under: a name for all stages together, ""
    for each its own; log_format: how anything is told; workers_checked: whether a job has asked
    workers elsewhere for this package.
    """

    flags: list[str]
    workers: int = 0
    progress: bool = False
    verbose: bool = False
    server: Server | None = None
    name: str = "copydetect"
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    under: str = ""
    log_format: LogFormat = "text"
    workers_checked: bool = False

    @property
    def processes(self) -> Processes:
        """One per processor, where a job runs on this machine."""
        return Processes(self.workers)

    @property
    def is_local(self) -> bool:
        """Whether a job runs on this machine, in its folder."""
        return f"--runner={_LOCAL_RUNNER}" in self.flags

    @property
    def is_elsewhere(self) -> bool:
        """Whether workers may be on other machines."""
        values = {flag.partition("=")[2] for flag in self.flags}
        return not self.is_local and not values & _HERE

    def tell(self, text: str, stream: TextIO | None = None, **values: Any) -> None:
        """Print to standard error, unless progress is not wanted. values: as of `line_of`."""
        if self.progress:
            line = line_of(f"copydetect: {text}", self.log_format, **values)
            print(line, file=stream or sys.stderr)

    def submitted(self, stream: TextIO | None = None) -> Submitted:
        """The watch over its jobs. stream: for messages."""
        return Submitted(
            lambda text: self.tell(text, stream),
            dashboard_of(self.flags),
            self.server.endpoint if self.server else "",
        )

    def of_a_worker(self) -> Engine:
        """For stages that one worker of this engine does in turn."""
        return Engine([f"--runner={_LOCAL_RUNNER}"], workers=1, verbose=True)

    def stop_server(self) -> None:
        """End the job server, if it was started for this job."""
        if self.server is not None:
            with muted(self.verbose):  # its workers complain that it has gone
                self.server.stop()

    def _flags(self, threads: bool, parts: int = 0) -> list[str]:
        """Beam's options of one job, on no more workers than it has parts, where that is known.

        Where processes do the work, one thread that hands it over is quickest: more would talk to
        it through sockets. Otherwise there is one thread per processor.
        """
        if not self.workers:
            return [_at_most(flag, parts) if parts else flag for flag in self.flags]
        if self.workers == 1 or (self.processes.started and not threads):
            return [*self.flags, "--direct_running_mode=in_memory", "--direct_num_workers=1"]
        number = f"--direct_num_workers={self.workers}"
        return [*self.flags, "--direct_running_mode=multi_threading", number]

    def fork(self) -> None:
        """Start the processes, if nothing else runs in this one yet: later it takes seconds.

        ThreadsError where the engine could not start its threads: it would wait for ever.
        """
        if self.is_local:
            started = startable_threads(_THREADS)
            if started < _THREADS:
                raise ThreadsError(
                    f"this process may start only {started} threads, {_THREADS} are needed: raise "
                    "the limit (`ulimit -u`, or that of the container)"
                )
        with muted(self.verbose):
            self.processes.fork()

    def run(
        self,
        stage: str,
        build: Callable[[beam.Pipeline], Any],
        progress: Progress | None = None,
    ) -> None:
        """Build and run one pipeline to its end, as a job of one stage."""
        progress = progress or Progress(stage)
        self.run_stages(stage, [Stage(stage, lambda one: _built(build, one), None, progress)])

    def run_here(self, stage: Stage[Any], work: Callable[[], InTurn]) -> None:
        """Do the work of a stage in this process, which is sooner done than a job begins."""
        started, told = time.monotonic(), [self._told(stage.progress)]
        with (
            muted(self.verbose) as terminal,
            show_progress(told, self.progress, terminal, self.log_format),
        ):
            done = work()
        cpu = {stage.name: done.cpu_msec / 1000} if done.cpu_msec else {}
        self._count({stage.name: time.monotonic() - started}, cpu)

    def begins_slower_than(self, parts: int) -> bool:
        """Whether the job of a runner would take longer to begin than this process, with the
        processes that it has started, takes for the steps of so many parts."""
        here = self.workers == 1 or self.processes.started
        return bool(self.workers) and here and 0 < parts <= FEW_PARTS

    def run_stages(self, job: str, stages: Sequence[Stage[Any]], parts: int = 0) -> None:
        """Run stages, each once all before it is done, as one job; StageError where it fails.

        job: a name for it; parts: into how many its work is cut, 0 where that is not known. Few
        need no runner here: this process does their steps in turn, and the processes their work.
        """
        label = f"{self.under}: {job}" if self.under else job
        if self.begins_slower_than(parts) and not any(stage.in_threads for stage in stages):
            self._run_in_turn(stages)
            return
        named = job_name(self.name, label)
        told = [self._told(stage.progress) for stage in stages]
        started, began = time.monotonic(), time.time()
        try:
            with (
                muted(self.verbose) as terminal,
                show_progress(told, self.progress, terminal, self.log_format),
            ):
                in_threads = any(stage.in_threads for stage in stages)
                options = _JobOptions([*self._flags(in_threads, parts), f"--job_name={named}"])
                pipeline = beam.Pipeline(options=options)
                pipeline.local_tempdir = adopt(pipeline.local_tempdir)
                chain(pipeline, stages, not (self.is_local or self.workers_checked))
                result, state = self.submitted(terminal).run(pipeline, named)
        except DryRun:
            raise
        except Exception as error:
            interrupt = interrupt_behind(error)
            if interrupt is not None:
                raise interrupt from error
            failed = _failure(failed_stage(str(error), stages) or label, error)
            raise StageError(failed + self.submitted().where_to_look(named)) from error
        end_if_asked()
        if state not in ("DONE", None):
            raise StageError(f"{label} ended as {state}")
        self.workers_checked = True
        counted = stage_seconds(result, stages, began) if len(stages) > 1 else {}
        counted = counted or {stages[0].name: time.monotonic() - started}
        self._count(counted, stage_cpu_seconds(result))

    def _run_in_turn(self, stages: Sequence[Stage[Any]]) -> None:
        """Run stages here, one after the other; StageError where one fails."""
        for stage in stages:
            try:
                self.run_here(stage, partial(do_in_turn, stage))
            except Exception as error:
                if interrupt := interrupt_behind(error):
                    raise interrupt from error
                raise StageError(_failure(stage.name, error)) from error
            end_if_asked()

    def _told(self, progress: Progress) -> Progress:
        label = f"{self.under}: {progress.label}" if self.under else progress.label
        return replace(progress, label=label)

    def _count(self, seconds: Mapping[str, float], cpu_seconds: Mapping[str, float]) -> None:
        for counted, taken in ((self.seconds, seconds), (self.cpu_seconds, cpu_seconds)):
            for stage, more in taken.items():
                name = self.under or stage
                counted[name] = counted.get(name, 0.0) + more
        if self.log_format == "json":
            for stage, more in seconds.items():
                self.tell(f"{stage}: {more:.1f} s", stage=stage, seconds=more)


def _failure(stage: str, error: Exception) -> str:
    logging.getLogger(__name__).debug("stage %s", stage, exc_info=True)
    return f"stage {stage} failed: {innermost_cause(error)}"


def _built(build: Callable[[beam.Pipeline], Any], one: PCollection[None]) -> PCollection[Any]:
    """Build on the pipeline itself: the only stage of a job need not wait."""
    built = build(one.pipeline)
    return built if isinstance(built, PCollection) else one


def _at_most(flag: str, parts: int) -> str:
    name, _, value = flag.partition("=")
    known = name == "--parallelism" and value.isdecimal()
    return f"{name}={min(int(value), parts)}" if known else flag


def engine_of(options: EngineOptions) -> Engine:
    """The engine that options ask for; OptionError names a flag that Beam does not know.

    Without a runner the job runs here, in Beam's in-process runner.
    """
    set_up_logging(options.verbose, options.log_format)
    remove_abandoned()
    given = dict(flag.partition("=")[::2] for flag in options.flags)
    runner = _runner_named(given.pop("--runner", _LOCAL_RUNNER))
    if "--dry_run" in given and runner != _DATAFLOW:
        raise OptionError(f"--dry_run is an option of {_DATAFLOW}; {runner} would run all the same")
    known = set(PipelineOptions([]).get_all_options())
    server = job_server_of(runner, options.flags)
    try:
        refuse_unknown_flags(options.flags, known | (server.options if server else frozenset()))
    except OptionError:
        if server is not None:
            server.stop()
        raise
    # Buckets are looked into before the first stage runs.
    reach_with(options.flags)
    begin_with(partial(reach_with, options.flags))
    # Types are checked by mypy; doing it again for each pipeline takes longer than a small one.
    flags = [f"--runner={runner}", "--no_pipeline_type_check"]
    workers = 0
    if runner == _LOCAL_RUNNER and "--direct_running_mode" not in given:
        workers = options.workers or _number(given.pop("--direct_num_workers", cpu_count()))
    tune_beam()
    job = given.pop("--job_name", "copydetect")
    flags += [f"{name}={value}" if value else name for name, value in given.items()]
    engine = Engine(
        flags,
        workers,
        options.progress,
        options.verbose,
        server,
        job,
        log_format=options.log_format,
    )
    if runner in (PORTABLE, FLINK):
        _prepare_portable(engine, given)
    return engine


def job_name(job: str, stage: str) -> str:
    """The name of a stage's job, of small letters, digits and hyphens, as all engines take it."""
    return re.sub(r"[^a-z0-9]+", "-", f"{job}-{stage}".lower()).strip("-")


def _prepare_portable(engine: Engine, given: dict[str, str]) -> None:
    """Hand all stages to one job server, and set what a small cluster does best with."""
    if engine.server is not None and "--job_endpoint" not in given:
        engine.flags.append(f"--job_endpoint={engine.server.endpoint}")
    wanted = [_KEPT_WORKERS]
    if engine.server is not None and _STEP_BY_STEP[0].lstrip("-") in engine.server.options:
        wanted.append(_STEP_BY_STEP)
    if slots := _slots(engine):
        wanted.append(("--parallelism", str(slots)))
    _keep_within_memory(engine, given, slots)
    chosen = [f"{name}={value}" for name, value in wanted if name not in given]
    engine.flags += chosen
    if chosen:
        engine.tell(f"the engine is given {' '.join(chosen)} as well")


def _keep_within_memory(engine: Engine, given: dict[str, str], slots: int) -> None:
    """Ask Flink for no more parts at once than it has memory to exchange: it would end the job."""
    dashboard = dashboard_of(engine.flags)
    capacity = dashboard.capacity() if dashboard else None
    text = given.get("--parallelism", str(slots))
    asked = int(text) if text.isdecimal() else 0
    if capacity is None or asked <= capacity.fitting:
        return
    engine.tell(
        f"the TaskManagers have network memory for {capacity.fitting} parts at once, not for "
        f"{asked}: give each taskmanager.memory.network.min and max of {capacity.network_mb}m"
    )
    engine.flags = [flag for flag in engine.flags if not flag.startswith("--parallelism=")]
    engine.flags.append(f"--parallelism={capacity.fitting}")
    given["--parallelism"] = str(capacity.fitting)


def _slots(engine: Engine) -> int:
    """How many workers the engine has, 0 where that is not known: Flink would take one."""
    if "--flink_master=[local]" in engine.flags:
        return int(cpu_count())
    dashboard = dashboard_of(engine.flags)
    return dashboard.slots() if dashboard else 0


def _number(text: str | int) -> int:
    try:
        return max(1, int(text))
    except ValueError:
        raise OptionError(f"direct_num_workers is {text!r}; it must be a whole number") from None


def _runner_named(name: str) -> str:
    """The name of a runner as this module spells it: Beam takes `flink`, too. OptionError where
    there is none."""
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise OptionError(f"--runner {name} is not there: {error}") from error
    spelt = {_short(known): known for known in (_LOCAL_RUNNER, _DATAFLOW, PORTABLE, FLINK)}
    return spelt.get(_short(name), name)


def _short(runner: str) -> str:
    return runner.lower().removesuffix("runner")
