"""Stages as steps of one job: each begins when all before it is done.

An engine starts workers and loads libraries for every job, so a run has few jobs. What a stage
works on is decided when the stages before are done, on a worker (`transforms.waiting`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import apache_beam as beam
from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.pvalue import PCollection
from apache_beam.runners.runner import PipelineResult

from copydetect import __version__
from copydetect.transforms.on_one_worker import InTurn, OnOneWorker
from copydetect.transforms.run_in_processes import CPU_TIME
from copydetect.transforms.waiting import WaitThen

from .progress import Progress

_NAMESPACE = "copydetect stages"
_STEP = re.compile(r"\[while running '([^/']+)")

Made = TypeVar("Made")


@dataclass(frozen=True)
class Stage(Generic[Made]):
    """One stage.

    build: from one element, None, which is there when the stage may begin, to whatever is there
    when it is done, None among it (see `transforms.waiting`); made: what it makes, such as the
    names of files, which are there once it is done; progress: how far it is; in_threads: whether
    its work stays in this process, as on a device that processes cannot share; alone: whether one
    worker does all of it, since so little gains nothing by being spread; then: called once all of
    it is done, on one worker, before the next stage begins.
    """

    name: str
    build: Callable[[Any], Any]
    made: Made
    progress: Progress
    in_threads: bool = False
    alone: bool = False
    then: Callable[[], None] | None = None


def chain(pipeline: beam.Pipeline, stages: Sequence[Stage[Any]], check: bool = False) -> None:
    """Add stages to a pipeline, one after the other. check: whether workers are asked for this
    package first, before they are sent anything that is of it."""
    start: PCollection[None] = pipeline | "start" >> beam.Create([None])
    if check:
        checked = start | "check workers" >> beam.ParDo(package_check(__version__))
        start = checked | "after workers" >> beam.Reshuffle()
    for stage in stages:
        done = start | stage.name >> _Steps(stage)
        start = done | f"after {stage.name}" >> _Barrier(stage)


def stage_seconds(
    result: PipelineResult, stages: Sequence[Stage[Any]], began: float
) -> dict[str, float]:
    """Wall time by stage of a job that is done; nothing where the engine counts nothing.

    began: when the job did, in seconds since the epoch.
    """
    counted = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))["distributions"]
    ended = {one.key.metric.name: one.result.max / 1000 for one in counted}
    seconds = {}
    for stage in stages:
        if stage.name in ended:
            seconds[stage.name] = max(0.0, ended[stage.name] - began)
            began = ended[stage.name]
    return seconds


def stage_cpu_seconds(result: PipelineResult) -> dict[str, float]:
    """Processor time by stage that its parts have taken, on all workers together."""
    namespace, name = CPU_TIME
    wanted = MetricsFilter().with_namespace(namespace).with_name(name)
    seconds: dict[str, float] = {}
    for one in result.metrics().query(wanted)["counters"]:
        stage = one.key.step.partition("/")[0]
        seconds[stage] = seconds.get(stage, 0.0) + one.result / 1000
    return seconds


def do_in_turn(stage: Stage[Any]) -> InTurn:
    """All steps of a stage, in this process."""
    done: InTurn = stage.build(InTurn([None]))
    if stage.then is not None:
        stage.then()
    return done


def failed_stage(error: str, stages: Sequence[Stage[Any]]) -> str | None:
    """The name of the stage that an engine's message is about, if it says so."""
    named = {stage.name for stage in stages}
    for name in _STEP.findall(error):
        if name in named:
            return str(name)
    return stages[0].name if len(stages) == 1 else None


def package_check(version: str) -> beam.DoFn:
    """A step that fails on a worker without this package, or with another version of it.

    A worker that cannot load a step says so before it has opened its channel for data, and Flink's
    runner waits for that channel, for minutes (seen with Beam 2.70). So the class is local: its
    code is sent, and nothing is imported. A bundle starts on each slot, with elements or without.
    """

    class PackageCheck(beam.DoFn):
        def start_bundle(self) -> None:
            try:
                from copydetect import __version__ as found
            except ImportError:
                found = ""
            if found != version:
                what = f"copydetect-images {found}" if found else "no copydetect-images"
                raise RuntimeError(
                    f"the workers have {what}, and the job was submitted by {version}: install "
                    "this version there"
                )

        def process(self, element: None) -> Iterator[None]:
            yield element

    return PackageCheck()  # type: ignore[no-untyped-call]


@dataclass(eq=False, repr=False)
class _Steps(beam.PTransform[Any, Any]):
    """The steps of one stage, under its name."""

    stage: Stage[Any]

    def expand(self, start: PCollection[None]) -> PCollection[Any]:
        build = self.stage.build
        done: PCollection[Any] = (
            start | beam.ParDo(OnOneWorker(build)) if self.stage.alone else build(start)
        )
        return done


@dataclass(eq=False, repr=False)
class _Barrier(beam.PTransform[Any, Any]):
    """The elements of a stage → one element, once all are there; notes the time."""

    stage: Stage[Any]

    def expand(self, done: PCollection[Any]) -> PCollection[None]:
        stage = self.stage
        if not stage.alone:
            done = done | "Done" >> WaitThen(list)
        note = _NoteTime(stage.name, stage.then)
        start: PCollection[None] = done | "Note" >> beam.ParDo(note)
        return start


class _NoteTime(beam.DoFn):
    def __init__(self, name: str, then: Callable[[], None] | None) -> None:
        self._ended = Metrics.distribution(_NAMESPACE, name)
        self._then = then

    def process(self, _: None) -> Iterator[None]:
        if self._then is not None:
            self._then()
        self._ended.update(int(time.time() * 1000))
        yield None
