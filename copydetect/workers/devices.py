"""What computes: a device by its name, and which small numbers it multiplies."""

from __future__ import annotations

from functools import cache

import torch

from copydetect.errors import OptionError


def checked_device(device: str) -> torch.device:
    """The device of this name; OptionError where there is none on this machine."""
    try:
        checked = torch.device(device)
        torch.empty(1, device=checked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise OptionError(f"no device {device!r} on this machine; 'cpu' always works") from error
    return checked


@cache
def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is native: then it is thrice as fast as float32, emulated it is slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


@cache
def multiplies_int8(device: torch.device) -> bool:
    """Whether products of bytes are native and add up in 32 bits; elsewhere sums may overflow."""
    return device.type == "cpu" and bool(torch.cpu._is_vnni_supported())
