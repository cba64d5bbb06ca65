"""Parts of a job in processes of this machine.

A job that runs here has a thread a processor, but Python runs one thread at a time. Libraries let
others run while they compute; what they compute is too small in the search of features and in
verification, where two threads are hardly faster than one. Threads then hand their parts to as many
processes, which take them one after the other, whichever is free. On an engine every worker is a
process already.

On Linux the processes of a job are forks of it, made before it does anything else: they share the
memory of the libraries that are loaded, and start at once. Those that are asked for while other
threads run, whose locks a fork would hold for ever, start from nothing, in seconds.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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

_WAITING = 8
"""Parts that one thread has handed over and not got back, for each process."""

_LOCK = threading.Lock()
_POOLS: dict[int, ProcessPoolExecutor] = {}
"""Of this process, by their size: there is one, unless jobs of other sizes run here, too."""


class WorkerError(CopydetectError):
    """A process that worked on a part has gone."""


@dataclass(frozen=True)
class Processes:
    """Where parts are worked on. count: of processes; below 2, it is done by who asks."""

    count: int = 0

    def prepare(self) -> None:
        """Start the processes, best before anything else runs in this one."""
        if self.count > 1:
            self.start(int, 0)

    def start(self, work: Callable[[Any], Any], part: Any) -> Future[Any]:
        """`work` on a part, in the next process that is free; WorkerError where one was ended."""
        try:
            with _LOCK:
                if self.count not in _POOLS:
                    _POOLS[self.count] = _new_pool(self.count)
                future: Future[Any] = _POOLS[self.count].submit(_alone, work, part)
                return future
        except TerminatedWorkerError as error:
            raise self._ended() from error

    def result(self, future: Future[Any]) -> Any:
        """What came of it, once it is done; WorkerError where its process was ended."""
        try:
            return future.result()
        except TerminatedWorkerError as error:
            raise self._ended() from error

    def _ended(self) -> WorkerError:
        self.stop()
        return WorkerError(
            "a process of this job was ended, by a person or for want of memory; "
            "the same command continues where it stopped"
        )

    def stop(self) -> None:
        """End the processes that were started, however many, and wait until they have gone."""
        with _LOCK:
            if not _POOLS:
                return
            while _POOLS:
                _POOLS.popitem()[1].shutdown(wait=True, kill_workers=True)
        # What a pool leaves is reported on standard error unless it is collected before the end.
        gc.collect()


def _new_pool(count: int) -> ProcessPoolExecutor:
    alone = sys.platform == "linux" and threading.active_count() == 1
    if alone:
        # Else each search for garbage, one a second, goes through all that is loaded already.
        gc.freeze()
    return ProcessPoolExecutor(
        count,
        context=multiprocessing.get_context("fork") if alone else None,
        initializer=_end_with,
        initargs=(os.getpid(),),
    )


def _end_with(parent: int) -> None:
    """End this process when its parent has gone, however it went."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _alone(work: Callable[[Any], Any], part: Any) -> Any:
    work_in_one_thread()
    return work(part)


class WorkOnParts(beam.DoFn):
    """Each part → what `work` returns for it, here or in processes.

    ready: a side input that is only waited for.
    """

    def __init__(self, work: Callable[[Any], Any], processes: Processes) -> None:
        self._work = work
        self._processes = processes
        self._started: deque[Future[Any]] = deque()

    def start_bundle(self) -> None:
        self._started = deque()

    def process(self, part: Any, ready: Iterable[Any] = ()) -> Iterator[Any]:
        list(ready)
        if self._processes.count < 2:
            yield _alone(self._work, part)
            return
        # Parts may be large: no more of them wait than keep the processes busy.
        if len(self._started) >= _WAITING * self._processes.count:
            yield self._processes.result(self._started.popleft())
        self._started.append(self._processes.start(self._work, part))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for future in self._started:
            yield WindowedValue(self._processes.result(future), MIN_TIMESTAMP, (GlobalWindow(),))
