"""Processes of this machine: what they have taken, forks that are killed, and programs that are
ended and started again."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PARENT, _TIMES = 1, slice(11, 13)
"""Fields of /proc/PID/stat behind the name: the parent; user and system time of the process."""
_LOOK_EVERY_SEC = 0.25


def below(roots: Iterable[int]) -> list[int]:
    """These processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for process, fields in _all_stats():
        children.setdefault(int(fields[_PARENT]), []).append(process)
    found, waiting = [], list(roots)
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting += children.get(process, [])
    return found


class CpuMeter:
    """Processor time that processes and all below them take while it is entered.

    It looks at them several times a second: nobody waits for the children of a killed process, so
    that nothing would tell afterwards what they have taken. roots: may change meanwhile.
    """

    def __init__(self, roots: Sequence[int]) -> None:
        self._roots = roots
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> CpuMeter:
        self._first = self._ticks()
        self._last = dict(self._first)
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watching.join()
        self._last |= self._ticks()

    @property
    def seconds(self) -> float:
        """What they have taken."""
        return (sum(self._last.values()) - sum(self._first.values())) / _TICKS

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_SEC):
            self._last |= self._ticks()

    def _ticks(self) -> dict[int, int]:
        """Of each process that is there now."""
        wanted = set(below(self._roots))
        return {
            process: sum(map(int, fields[_TIMES]))
            for process, fields in _all_stats()
            if process in wanted
        }


def _all_stats() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                yield int(entry.name), fields


@dataclass(frozen=True)
class Program:
    """A process as it was started, so that it can be started again."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]

    @classmethod
    def of(cls, process: int) -> Program:
        """That of a process of this user."""
        place = Path("/proc") / str(process)
        pairs = (one.partition("=") for one in _texts(place / "environ"))
        environment = {name: value for name, _, value in pairs}
        return cls(_texts(place / "cmdline"), os.readlink(place / "cwd"), environment)

    def start(self) -> int:
        """Start it again; its process id."""
        return subprocess.Popen(
            self.arguments,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ).pid


def forked(work: Callable[[], int], kill_after: float = math.inf) -> int:
    """The exit code that `work` gives in a fork of this process, which shares what is loaded;
    negative is the signal that has ended it. kill_after: seconds."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 99
        try:
            code = work()
            sys.stderr.flush()
        finally:
            os._exit(code)
    deadline = time.monotonic() + kill_after
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            end(child)
            deadline = math.inf
        time.sleep(0.005)


def end(process: int) -> None:
    """Kill a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _texts(path: Path) -> list[str]:
    return [text for text in path.read_text(errors="surrogateescape").split("\0") if text]
