"""One thread a worker: the engine runs a worker a processor, more would be in each other's way."""

from __future__ import annotations

import ctypes
import sys
import threading

import cv2
from threadpoolctl import threadpool_limits

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h

_THIS_THREAD = threading.local()


def work_in_one_thread() -> None:
    """Limit OpenCV, BLAS and OpenMP (torch, FAISS) to the calling thread.

    OpenMP keeps its limit by thread, and engines don't promise that `setup` and `process` run in
    the same one: call it where the work is done. Only the first call in a thread takes time.
    """
    if hasattr(_THIS_THREAD, "limited"):
        return
    _THIS_THREAD.limited = True
    _keep_freed_memory()
    cv2.setNumThreads(1)
    threadpool_limits(1)


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
