"""How far a stage is, on any engine: it counts what the stage has written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

from copydetect.options import LogFormat

from .logs import line_of

_POLL_SECONDS = 0.5
_LINE_SECONDS = 30.0


@contextmanager
def progress_told(
    label: str,
    total: int,
    unit: str,
    done: Callable[[], int],
    wanted: bool,
    terminal: TextIO,
    log_format: LogFormat = "text",
) -> Iterator[None]:
    """Tell how far a stage is while the block runs: a bar on a terminal, else a line every 30 s.

    done: how many of `total` are finished; it is asked from a thread of its own. Without a total,
    only the time that the stage has taken is told. Nothing is unless it is `wanted`.
    """
    if not wanted:
        yield
    elif terminal.isatty() and log_format == "text":
        with _bar(label, total, unit, done, terminal):
            yield
    else:
        with _lines(label, total, unit, done, terminal, log_format):
            yield


@contextmanager
def _bar(
    label: str, total: int, unit: str, done: Callable[[], int], terminal: TextIO
) -> Iterator[None]:
    with tqdm(
        total=total or None,
        desc=label,
        unit=unit,
        initial=min(done(), total),
        bar_format=None if total else "{desc}: {elapsed}",
        leave=False,
        file=terminal,
    ) as bar:

        def show() -> None:
            bar.update(min(done(), total) - bar.n)
            bar.refresh()

        with _repeated(show, _POLL_SECONDS):
            yield


@contextmanager
def _lines(
    label: str,
    total: int,
    unit: str,
    done: Callable[[], int],
    terminal: TextIO,
    log_format: LogFormat,
) -> Iterator[None]:
    started = time.monotonic()

    def tell() -> None:
        now = min(done(), total)
        part = f" {now:,} of {total:,} {unit} ({now / total:.0%})," if total else ""
        seconds = time.monotonic() - started
        text = f"{label}:{part} {seconds:.0f} s so far"
        values: dict[str, Any] = {"stage": label, "done": now, "total": total, "unit": unit}
        line = line_of(text, log_format, seconds=seconds, **values)
        print(line, file=terminal, flush=True)

    with _repeated(tell, _LINE_SECONDS):
        yield
    if log_format == "json":
        seconds = time.monotonic() - started
        text = f"{label}: {seconds:.1f} s"
        print(line_of(text, "json", stage=label, seconds=seconds), file=terminal, flush=True)


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
