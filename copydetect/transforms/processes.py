"""Parts of a job in processes of this machine.

A job that runs here has a thread a processor, but Python runs one thread at a time. Libraries let
others run while they compute; what they compute is too small in the search of features and in
verification, where two threads are hardly faster than one. Threads then hand their parts to as many
processes, which take them one after the other, whichever is free. On an engine every worker is a
process already.
"""

from __future__ import annotations

import gc
import importlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue
from loky import ProcessPoolExecutor
from loky.process_executor import TerminatedWorkerError

from copydetect.errors import CopydetectError
from copydetect.transforms.threads import work_in_one_thread

_LOCK = threading.Lock()
_POOLS: dict[int, ProcessPoolExecutor] = {}
"""Of this process, by their size: there is one, unless jobs of other sizes run here, too."""


class WorkerError(CopydetectError):
    """A process that worked on a part has gone."""


@dataclass(frozen=True)
class Processes:
    """Where parts are worked on. count: of processes; below 2, it is done by who asks."""

    count: int = 0

    def prepare(self, modules: Sequence[str]) -> None:
        """Let the processes start, and load what they will need, while there is other work."""
        if self.count > 1:
            for _ in range(self.count):
                self.start(_load, modules)

    def start(self, work: Callable[[Any], Any], part: Any) -> Future[Any]:
        """`work` on a part, in the next process that is free."""
        with _LOCK:
            pool = _POOLS.get(self.count) or ProcessPoolExecutor(
                self.count, initializer=_end_with, initargs=(os.getpid(),)
            )
            _POOLS[self.count] = pool
            future: Future[Any] = pool.submit(_alone, work, part)
            return future

    def result(self, future: Future[Any]) -> Any:
        """What came of it, once it is done; WorkerError where its process was ended."""
        try:
            return future.result()
        except TerminatedWorkerError as error:
            self.stop()
            raise WorkerError(
                "a process of this job was ended, by a person or for want of memory; "
                "the same command continues where it stopped"
            ) from error

    def stop(self) -> None:
        """End the processes that were started, however many, and wait until they have gone."""
        with _LOCK:
            if not _POOLS:
                return
            while _POOLS:
                _POOLS.popitem()[1].shutdown(wait=True, kill_workers=True)
        # What a pool leaves is reported on standard error unless it is collected before the end.
        gc.collect()


def _end_with(parent: int) -> None:
    """End this process when its parent has gone, however it went."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _load(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)


def _alone(work: Callable[[Any], Any], part: Any) -> Any:
    work_in_one_thread()
    return work(part)


class PrepareWhenIdle(beam.DoFn):
    """Each element as it is; a worker that has no more of them lets processes start.

    What others have yet to do is then done beside it.
    """

    def __init__(self, processes: Processes, modules: Sequence[str]) -> None:
        self._processes = processes
        self._modules = modules

    def process(self, element: Any) -> Iterator[Any]:
        yield element

    def finish_bundle(self) -> None:
        self._processes.prepare(self._modules)


class WorkOnParts(beam.DoFn):
    """Each part → what `work` returns for it, here or in processes.

    ready: a side input that is only waited for.
    """

    def __init__(self, work: Callable[[Any], Any], processes: Processes) -> None:
        self._work = work
        self._processes = processes
        self._started: list[Future[Any]] = []

    def start_bundle(self) -> None:
        self._started = []

    def process(self, part: Any, ready: Iterable[Any] = ()) -> Iterator[Any]:
        list(ready)
        if self._processes.count < 2:
            yield _alone(self._work, part)
        else:
            self._started.append(self._processes.start(self._work, part))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for future in self._started:
            yield WindowedValue(self._processes.result(future), MIN_TIMESTAMP, (GlobalWindow(),))
