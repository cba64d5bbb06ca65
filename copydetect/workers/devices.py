"""Devices that compute descriptors, and which number types they multiply natively.

PyTorch takes seconds to load, and only some processors have what it is needed for here: their flags
are read first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from copydetect.errors import OptionError
from copydetect.workers.threads import limit_threads

if TYPE_CHECKING:
    import torch

_PROCESSOR = Path("/proc/cpuinfo")
_BFLOAT16 = {"avx512_bf16", "amx_bf16"}
_INT8 = {"avx512_vnni", "avx_vnni"}
_TRIES = 5
_ROWS, _INNER, _COLUMNS = 64, 192, 2048
"""Of the products that are timed: as large as those of a search."""


def checked_device(device: str) -> torch.device:
    """The device of this name; OptionError where there is none on this machine."""
    import torch

    try:
        checked = torch.device(device)
        torch.empty(1, device=checked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise OptionError(f"no device {device!r} on this machine; 'cpu' always works") from error
    return checked


@cache
def multiplies_bfloat16(device: str = "cpu") -> bool:
    """Whether bfloat16 is native: then it is thrice as fast as float32, emulated it is slower.

    device: its type, as "cpu" or "cuda". What the library can use counts, not what is built in.
    """
    if device == "cpu" and not _BFLOAT16 & _flags():
        return False
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def multiplies_int8() -> bool:
    """Whether products of bytes are native, add up in 32 bits, and are quicker than float32."""
    if not _INT8 & _flags():
        return False
    import torch

    limit_threads(1)
    if not torch.cpu._is_vnni_supported():
        return False
    left, right = (torch.ones(shape) for shape in ((_ROWS, _INNER), (_INNER, _COLUMNS)))
    small_left, small_right = left.to(torch.int8), right.to(torch.int8)
    bytes_sec = _quickest(lambda: torch._int_mm(small_left, small_right))
    return bytes_sec < _quickest(lambda: torch.mm(left, right))


def _quickest(work: Callable[[], object]) -> float:
    """Seconds, the least of a few tries."""
    found = []
    for _ in range(_TRIES):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


@cache
def _flags() -> frozenset[str]:
    """The processor's, as Linux names them; none elsewhere."""
    try:
        lines = _PROCESSOR.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    found = (line.partition(":")[2].split() for line in lines if line.startswith("flags"))
    return frozenset(next(found, ()))
