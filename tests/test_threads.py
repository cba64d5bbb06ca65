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


_SEARCH_BEFORE_A_FORK = """
import numpy as np
from copydetect.workers.processes import Processes
from copydetect.workers.threads import work_in_one_thread
work_in_one_thread()
import faiss
faiss.omp_set_num_threads(2)

def code(count):
    vectors = np.random.default_rng(0).random((count, 16), dtype=np.float32)
    quantiser = faiss.ProductQuantizer(16, 4, 4)
    quantiser.train(vectors)
    return len(quantiser.compute_codes(vectors))

code(5000)
processes = Processes(2)
processes.fork()
print(processes.result(processes.start(code, 5000)))
processes.stop()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forks on Linux alone")
def test_a_process_does_not_wait_for_threads_that_its_parent_had() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _SEARCH_BEFORE_A_FORK],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.split() == ["5000"]


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
