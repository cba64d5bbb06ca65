"""A progress bar for a stage that runs on any engine: it counts what the stage has written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

_POLL_SECONDS = 0.5


@contextmanager
def progress_bar(
    label: str, total: int, unit: str, done: Callable[[], int], quiet: bool, terminal: TextIO
) -> Iterator[None]:
    """Show how far a stage is, with rate and remaining time, while the block runs.

    `done` says how many of `total` are finished; it is asked twice a second from a thread of its
    own. Without a total, only the time that the stage has taken is shown. Nothing is when `quiet`,
    or where `terminal` is a file or a pipe.
    """
    if quiet or not terminal.isatty():
        yield
        return
    stop = threading.Event()
    begun = min(done(), total)
    shown = None if total else "{desc}: {elapsed}"
    with tqdm(
        total=total or None,
        desc=label,
        unit=unit,
        initial=begun,
        bar_format=shown,
        leave=False,
        file=terminal,
    ) as bar:

        def follow() -> None:
            while not stop.wait(_POLL_SECONDS):
                bar.update(min(done(), total) - bar.n)
                bar.refresh()

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            stop.set()
            follower.join()
