"""Progress of a job on any engine: counts the files that its stages have written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from tqdm import tqdm

from copydetect.options import LogFormat

from .logs import line_of

_POLL_SECONDS = 0.5
_LINE_SECONDS = 30.0


def _nothing() -> float:
    return 0.0


@dataclass(frozen=True)
class Progress:
    """How far a stage is.

    label: its name, for people; share: how much of it is done, 0 … 1; total: how many `unit` it
    has, asked for once it has begun, 0 where that is not known.
    """

    label: str
    share: Callable[[], float] = _nothing
    total: Callable[[], int] | int = 0
    unit: str = "images"

    @property
    def whole(self) -> int:
        """The total."""
        return self.total() if callable(self.total) else self.total

    @property
    def begun(self) -> bool:
        """Whether anything of it is done."""
        return self.share() > 0


class _Current:
    """The stage that a job is at: the one behind the last that is done or has a later one begun."""

    def __init__(self, stages: Sequence[Progress]) -> None:
        self._stages = stages
        self._at = 0

    def __call__(self) -> Progress:
        while self._at + 1 < len(self._stages):
            ahead = self._stages[self._at + 1 :]
            if self._stages[self._at].share() < 1 and not any(one.begun for one in ahead):
                break
            self._at += 1
        return self._stages[self._at]


@contextmanager
def show_progress(
    stages: Sequence[Progress],
    wanted: bool,
    terminal: TextIO,
    log_format: LogFormat = "text",
) -> Iterator[None]:
    """Show the progress of a job while the block runs: a bar on a terminal, else a line every 30 s.

    stages: of the job, in their order; they are asked from a thread of their own. Of a stage
    without a total only the time that it has taken is told. Nothing is unless it is `wanted`.
    """
    if not wanted:
        yield
    elif terminal.isatty() and log_format == "text":
        with _bars(_Current(stages), terminal):
            yield
    else:
        with _lines(_Current(stages), terminal, log_format):
            yield


@contextmanager
def _bars(current: Callable[[], Progress], terminal: TextIO) -> Iterator[None]:
    bars: list[tuple[Progress, Any]] = []

    def show() -> None:
        stage = current()
        if not bars or bars[-1][0] is not stage:
            if bars:
                bars[-1][1].close()
            bars.append((stage, _bar(stage, terminal)))
        bar = bars[-1][1]
        bar.update(_done(stage, bar.total or 0) - bar.n)
        bar.refresh()

    show()
    try:
        with _repeated(show, _POLL_SECONDS):
            yield
    finally:
        bars[-1][1].close()


def _bar(stage: Progress, terminal: TextIO) -> Any:
    total = stage.whole
    return tqdm(
        total=total or None,
        desc=stage.label,
        unit=stage.unit,
        initial=_done(stage, total),
        bar_format=None if total else "{desc}: {elapsed}",
        leave=False,
        file=terminal,
    )


def _done(stage: Progress, total: int) -> int:
    return int(min(stage.share(), 1.0) * total)


@contextmanager
def _lines(
    current: Callable[[], Progress], terminal: TextIO, log_format: LogFormat
) -> Iterator[None]:
    started = time.monotonic()

    def tell() -> None:
        stage = current()
        total = stage.whole
        now = _done(stage, total)
        part = f" {now:,} of {total:,} {stage.unit} ({now / total:.0%})," if total else ""
        seconds = time.monotonic() - started
        text = f"{stage.label}:{part} {seconds:.0f} s so far"
        done: dict[str, Any] = {"done": now, "total": total, "unit": stage.unit}
        line = line_of(text, log_format, stage=stage.label, seconds=seconds, **done)
        print(line, file=terminal, flush=True)

    with _repeated(tell, _LINE_SECONDS):
        yield


@contextmanager
def _repeated(act: Callable[[], None], seconds: float) -> Iterator[None]:
    """Do something again and again, from a thread of its own, while the block runs."""
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(seconds):
            act()

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        stop.set()
        follower.join()
