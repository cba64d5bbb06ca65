"""One thread a worker: the engine runs a worker a processor, more would be in each other's way."""

from __future__ import annotations

import cv2
from threadpoolctl import threadpool_limits


def work_in_one_thread() -> None:
    """Limit OpenCV, BLAS and OpenMP (torch, FAISS) to the calling thread.

    OpenMP keeps its limit by thread, and engines don't promise that `setup` and `process` run in
    the same one: call it where the work is done.
    """
    cv2.setNumThreads(1)
    threadpool_limits(1)
