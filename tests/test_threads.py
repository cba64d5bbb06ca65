"""How many threads there may be is found out before a library needs one."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from copydetect.workers.threads import startable_threads

_PRODUCTS_OF_BYTES = """
import numpy as np
from copydetect.index.coarse import CoarseQuantiser
from copydetect.workers.threads import limit_threads
limit_threads(1)
import torch
torch.set_num_threads(2)  # as it begins on two processors
vectors = np.eye(8, dtype=np.float32)
CoarseQuantiser(vectors)._in_bytes(slice(0, 8), vectors)
print(torch.get_num_threads())
"""


def test_what_is_loaded_later_is_limited_too() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _PRODUCTS_OF_BYTES], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["1"]


def test_as_many_as_are_wanted() -> None:
    before = threading.active_count()
    assert startable_threads(8) == 8
    assert threading.active_count() == before


def test_a_limit_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert startable_threads(8) == 3
    assert not any(thread.is_alive() for thread in started)
