"""Pixels of an image → whether there is enough in them to prove a copy by."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.types import Pixels

FEWEST_PX = 256
"""Pixels of an image at full size; fewer cannot prove a copy."""
_SKETCH_PX = 32
_UNEXPLAINED = 6.0
"""Grey levels by which a sketch may miss a smooth surface: what compression and noise leave."""


def is_plain(pixels: Pixels) -> bool:
    """Whether pixels, (h, w, 3), are of one colour or one gradient.

    A gradient is whatever a surface of third degree explains, linear and round ones alike.
    """
    size = (_SKETCH_PX, _SKETCH_PX)
    sketch = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)
    levels = sketch.reshape(-1, 3)
    surface = _surface()
    left = levels - surface @ (surface.T @ levels)
    return float(np.abs(left).max()) < _UNEXPLAINED


@lru_cache(maxsize=1)
def _surface() -> npt.NDArray[np.float32]:
    """(pixels of a sketch, 10) orthonormal: the polynomials in x and y up to the third degree."""
    axis = np.linspace(-1, 1, _SKETCH_PX)
    x, y = (one.ravel() for one in np.meshgrid(axis, axis))
    powers = [x**i * y**j for i in range(4) for j in range(4 - i)]
    orthonormal, _ = np.linalg.qr(np.stack(powers, axis=1))
    return np.asarray(orthonormal, np.float32)
