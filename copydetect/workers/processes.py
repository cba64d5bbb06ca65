"""Parts of a job, worked on by processes of this machine.

A job that runs here has one thread per processor, but Python runs one at a time. Libraries let
others run while they compute; what they compute is too small in the search of features and in
verification, where two threads are hardly faster than one. Threads then hand their parts to as many
processes; whichever is free takes the next. On an engine every worker is a process already; there a
child, which the worker keeps, does what may break a library, as a picture may its decoder: the
worker goes on without it.

On Linux the processes of a job are forks of it, made before it does anything else: they share the
memory of the libraries that are loaded, and start at once. Those that are asked for while other
threads run, whose locks a fork would hold for ever, start from nothing, in seconds.

Where a process is ended, by a person, by a picture that is too large for the memory or by one that
breaks a library, all of them are. What they were at work on is tried again, each part in a process
of its own.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import cv2
from loky import ProcessPoolExecutor, cpu_count
from loky.process_executor import BrokenProcessPool, TerminatedWorkerError

from copydetect.errors import CopydetectError
from copydetect.workers.threads import work_in_one_thread

_LOCK, _LAST_TRY = threading.Lock(), threading.Lock()
_POOLS: dict[int, ProcessPoolExecutor] = {}
"""Of this process, by their size: that of the job, and one of a single process for last tries."""
_CHILDREN: list[ProcessPoolExecutor] = []
"""Of this process where it is a worker of an engine: those that are free, of one process each."""
_CHILDREN_AT_WORK = threading.BoundedSemaphore(cpu_count())
_FIRST: list[Callable[[], object]] = []


class WorkerError(CopydetectError):
    """A process that worked on a part has gone."""


@dataclass(frozen=True)
class Processes:
    """Where parts are worked on.

    count: of processes; below 2, the caller does the work itself. of_worker: whether a child of the
    caller does it, by `aside`, as on each worker of an engine.
    """

    count: int = 0
    of_worker: bool = False

    @property
    def started(self) -> bool:
        """Whether they are there already."""
        return self.count in _POOLS

    def fork(self) -> None:
        """Start the processes as forks of this one, if nothing else runs in it."""
        if self.count > 1 and _may_fork():
            # The threads of OpenCV's pool are not in a fork, which would wait for them for ever.
            threads = cv2.getNumThreads()
            cv2.setNumThreads(1)
            self.start(int, 0)
            cv2.setNumThreads(threads)

    def start(self, work: Callable[[Any], Any], part: Any) -> Future[Any]:
        """Start `work` on a part, in the next process that is free."""
        with _LOCK:
            pool = _POOLS.get(self.count) or self._new_pool()
            try:
                future: Future[Any] = pool.submit(run_alone, work, part)
            except TerminatedWorkerError:
                pool.shutdown(kill_workers=True)
                future = self._new_pool().submit(run_alone, work, part)
            return future

    def result(self, future: Future[Any]) -> Any:
        """The result, once it is there; WorkerError where any of the processes was ended."""
        try:
            return future.result()
        except TerminatedWorkerError as error:
            raise WorkerError(
                "a process of this job was killed, perhaps because memory ran out; "
                "the same command continues where it stopped"
            ) from error

    def aside(self, work: Callable[[Any], Any], part: Any) -> Any:
        """What `work` returns for a part, in a child of this process that does nothing else
        meanwhile, and is kept for the next; WorkerError where it was ended."""
        with _CHILDREN_AT_WORK:
            child: ProcessPoolExecutor | None
            try:
                child = _CHILDREN.pop()
            except IndexError:
                child = _new_pool(1, _may_fork())
            try:
                return child.submit(run_alone, work, part).result()
            except BrokenProcessPool as error:
                broken, child = child, None
                broken.shutdown(kill_workers=True)
                if not isinstance(error, TerminatedWorkerError):
                    raise
                raise WorkerError("a child of this worker was ended") from error
            finally:
                if child is not None:
                    _CHILDREN.append(child)

    def last_try(self, work: Callable[[Any], Any], part: Any) -> Any:
        """What `work` returns for a part in a process of its own; WorkerError where that one
        crashes, too."""
        with _LAST_TRY:
            one = Processes(1)
            return one.result(one.start(work, part))

    def ends(self, work: Callable[[Any], Any], part: Any) -> bool:
        """Whether a part ends the process of its own that works on it."""
        try:
            self.last_try(work, part)
        except WorkerError:
            return True
        return False

    def _new_pool(self) -> ProcessPoolExecutor:
        forks = _may_fork()
        if forks:
            # Otherwise the garbage collector, once per second, goes through everything that is
            # loaded already.
            gc.freeze()
        _POOLS[self.count] = _new_pool(self.count, forks)
        return _POOLS[self.count]

    def stop(self) -> None:
        """End the processes that were started, however many, and wait until they have gone."""
        with _LOCK:
            if not _POOLS and not _CHILDREN:
                return
            while _POOLS:
                _POOLS.popitem()[1].shutdown(wait=True, kill_workers=True)
            while _CHILDREN:
                _CHILDREN.pop().shutdown(wait=True, kill_workers=True)
        # What a pool leaves is reported on standard error unless it is collected before the end.
        gc.collect()


def _new_pool(count: int, forks: bool) -> ProcessPoolExecutor:
    try:
        return ProcessPoolExecutor(
            count,
            context=multiprocessing.get_context("fork") if forks else None,
            initializer=_begin,
            initargs=(os.getpid(), tuple(_FIRST)),
        )
    except OSError as error:
        # What processes share lies in shared memory, of which there may be none left.
        raise CopydetectError(
            f"cannot start {count} processes: {error.strerror or error} (shared memory, /dev/shm "
            "on Linux, must be writable; --direct_num_workers=1 does without)"
        ) from error


def _may_fork() -> bool:
    return sys.platform == "linux" and threading.active_count() == 1


def begin_with(act: Callable[[], object]) -> None:
    """Set the function that new processes call first: unless it is a fork, a process knows nothing
    of this one's settings. It replaces the function that was set before."""
    _FIRST[:] = [act]


def _begin(parent: int, first: Sequence[Callable[[], object]]) -> None:
    """Leave Ctrl-C to the parent process, and end when it has ended, however that was."""
    for act in first:
        act()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_alone(work: Callable[[Any], Any], part: Any) -> Any:
    """What `work` returns for a part, done in one thread."""
    work_in_one_thread()
    return work(part)
