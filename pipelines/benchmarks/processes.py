"""Processes of this machine: what they have taken, and one that is ended and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PARENT, _TIMES = 1, slice(11, 15)
"""Fields of /proc/PID/stat behind the name: the parent; user and system time of the process, and of
its children that have ended and were waited for."""


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


def cpu_seconds(roots: Iterable[int]) -> float:
    """Processor time of these processes and all below them, with what those took that have ended
    and were waited for."""
    wanted = set(below(roots))
    ticks = sum(
        sum(map(int, fields[_TIMES])) for process, fields in _all_stats() if process in wanted
    )
    return ticks / _TICKS


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


def end(process: int) -> None:
    """Kill a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _texts(path: Path) -> list[str]:
    return [text for text in path.read_text(errors="surrogateescape").split("\0") if text]
