"""Limits of threads: the engine runs one worker per processor, so each may use one thread."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from functools import cache

import cv2
from threadpoolctl import threadpool_limits

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h

_THIS_THREAD = threading.local()
_WITH_THREADS = ("torch", "faiss")
"""Modules whose libraries have threads of their own, and are loaded when they are needed."""


def work_in_one_thread() -> None:
    """Limit OpenCV and the libraries of `limit_threads` to the calling thread.

    Engines don't promise that `setup` and `process` run in the same one: call it where the work is
    done.
    """
    _keep_freed_memory()
    cv2.setNumThreads(1)
    limit_threads(1)


def limit_threads(threads: int) -> None:
    """Limit BLAS, and OpenMP (torch, FAISS) in the calling thread; only a change takes time.

    PyTorch is loaded where it is first needed: what has loaded it calls this again.
    """
    limit = threads, *(name in sys.modules for name in _WITH_THREADS)
    if getattr(_THIS_THREAD, "limit", None) == limit:
        return
    _THIS_THREAD.limit = limit
    torch_threads = getattr(sys.modules.get("torch"), "get_num_threads", None)
    if torch_threads is not None:
        # When a thread first uses PyTorch, it is given one for each processor.
        torch_threads()
    threadpool_limits(threads)


if hasattr(os, "register_at_fork"):
    # A fork has none of the threads that OpenMP has started here, and would wait for them for ever.
    # So it sets its own limit.
    os.register_at_fork(after_in_child=lambda: _THIS_THREAD.__dict__.clear())


def startable_threads(wanted: int) -> int:
    """How many threads this process can start at once, up to `wanted`.

    A limit of the user (`ulimit -u`) or of a container may be lower; libraries that run into it
    inside one of their own threads wait for ever.
    """
    stop = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(wanted):
            thread = threading.Thread(target=stop.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        pass
    finally:
        stop.set()
        for thread in started:
            thread.join()
    return len(started)


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep what arrays free, up to 64 MB, instead of asking the kernel for it again.

    Arrays of a picture's size would each be mapped and zeroed anew: ten times the work of adding
    two of them. Once for the process; other C libraries have no such call.
    """
    if sys.platform == "linux":
        tune = getattr(ctypes.CDLL(None), "mallopt", None)
        if tune is not None:
            tune(_M_MMAP_THRESHOLD, 64 << 20)
            tune(_M_TRIM_THRESHOLD, 64 << 20)
