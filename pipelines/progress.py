"""A progress bar for a stage that runs on any engine: it counts what the stage has written."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

_POLL_SECONDS = 0.5


@contextmanager
def progress_bar(
    label: str, total: int, unit: str, done: Callable[[], int], quiet: bool
) -> Iterator[None]:
    """Show how far a stage is, with rate and remaining time, while the block runs.

    `done` says how many of `total` are finished; it is asked twice a second from a thread of its
    own. Nothing is shown when `quiet` or when standard error is no terminal.
    """
    if quiet or total == 0 or not sys.stderr.isatty():
        yield
        return
    stop = threading.Event()
    with tqdm(total=total, desc=label, unit=unit, initial=min(done(), total), leave=False) as bar:

        def follow() -> None:
            while not stop.wait(_POLL_SECONDS):
                bar.update(min(done(), total) - bar.n)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            stop.set()
            follower.join()
