"""A function on every part of a stage: spread over the workers, and in processes of each."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from copydetect.storage.clients import as_told_here
from copydetect.workers.processes import Processes, WorkerError, begin_with, run_alone

CPU_TIME = "copydetect processors", "cpu_msec"
"""Namespace and name of the counter of processor time spent on parts."""
_WAITING = 8
"""How many parts one thread hands over to each process before it waits for results."""


class OnWorkers(beam.PTransform[Any, Any]):
    """Parts → what `work` returns for each, on whichever worker is free. None is passed on.

    mend: as of `RunInProcesses`.
    """

    def __init__(
        self,
        work: Callable[[Any], Any],
        processes: Processes,
        mend: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__()
        self._run = RunInProcesses(work, processes, mend)
        self._processes = processes

    def expand(self, parts: PCollection[Any]) -> PCollection[Any]:
        # Where one thread hands parts to processes, a reshuffle would only cost time.
        if self._processes.count < 2:
            parts = parts | beam.Reshuffle()
        done: PCollection[Any] = parts | beam.ParDo(self._run)
        return done


class RunInProcesses(beam.DoFn):
    """Parts → what `work` returns for each, here or in processes. None is passed on.

    mend: called with a part that has crashed a process even alone; returns the part without what
    crashed it. Where it is None, such a part fails the job. cpu_msec: processor time that the parts
    have taken so far.
    """

    def __init__(
        self,
        work: Callable[[Any], Any],
        processes: Processes,
        mend: Callable[[Any], Any] | None = None,
    ) -> None:
        self._work = work
        self._processes = processes
        self._mend = mend
        self.cpu_msec = 0
        self._counter = Metrics.counter(*CPU_TIME)
        self._started: deque[tuple[Any, Future[Any]]] = deque()

    def setup(self) -> None:
        if self._processes.of_worker:
            # Beam has told this process its options, and does not know of its children.
            begin_with(as_told_here())

    def start_bundle(self) -> None:
        self._started = deque()

    def process(self, part: Any) -> Iterator[Any]:
        if part is None:
            yield None
            return
        if self._processes.of_worker:
            yield self._aside(part)
            return
        if self._processes.count < 2:
            yield self._counted(run_alone(_timed, (self._work, part)))
            return
        # Parts may be large: no more of them wait than keep the processes busy.
        if len(self._started) >= _WAITING * self._processes.count:
            yield self._next()
        self._started.append((part, self._processes.start(_timed, (self._work, part))))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._started:
            yield WindowedValue(self._next(), MIN_TIMESTAMP, (GlobalWindow(),))

    def _next(self) -> Any:
        part, future = self._started.popleft()
        with contextlib.suppress(WorkerError):
            return self._counted(self._processes.result(future))
        return self._again(part)

    def _aside(self, part: Any) -> Any:
        with contextlib.suppress(WorkerError):
            return self._counted(self._processes.aside(_timed, (self._work, part)))
        return self._again(part)

    def _again(self, part: Any) -> Any:
        try:
            return self._processes.last_try(self._work, part)
        except WorkerError:
            if self._mend is None:
                raise
            return self._processes.last_try(self._work, self._mend(part))

    def _counted(self, timed: tuple[Any, int]) -> Any:
        result, cpu_msec = timed
        self.cpu_msec += cpu_msec
        self._counter.inc(cpu_msec)
        return result


class Count(beam.DoFn):
    """Tuples that end in one number for each of `names` → the tuples without these, or the one
    value that is left; the numbers are added to metrics. None is passed on."""

    def __init__(self, namespace: str, *names: str) -> None:
        self._counters = [Metrics.counter(namespace, name) for name in names]

    def process(self, counted: tuple[Any, ...] | None) -> Iterator[Any]:
        if counted is None:
            yield None
            return
        kept = len(counted) - len(self._counters)
        for counter, number in zip(self._counters, counted[kept:], strict=True):
            counter.inc(number)
        yield counted[:kept] if kept > 1 else counted[0]


def _timed(work: tuple[Callable[[Any], Any], Any]) -> tuple[Any, int]:
    """The result of a function for a part, and the processor time that it took in milliseconds."""
    started = time.thread_time()
    result = work[0](work[1])
    return result, round(1000 * (time.thread_time() - started))
