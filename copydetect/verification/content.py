"""One image → whether there is enough in it to prove a copy by."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from copydetect.verification.pair_images import Floats, PairImage

_FEWEST_PX = 256
_SKETCH_PX = 32
_UNEXPLAINED = 6.0
"""Grey levels by which a sketch may miss a smooth surface: what compression and noise leave."""

TOO_LITTLE = "too little to compare: one of the pictures is tiny, of one colour or one gradient"


def has_too_little(image: PairImage) -> bool:
    """Whether an image is a few pixels, or one colour or gradient.

    A gradient is whatever a surface of third degree explains, linear and round ones alike.
    """
    if image.full_width_px * image.full_height_px < _FEWEST_PX:
        return True
    size = (_SKETCH_PX, _SKETCH_PX)
    sketch = np.asarray(cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA), np.float32)
    levels = sketch.reshape(-1, 3)
    surface = _surface()
    left = levels - surface @ (surface.T @ levels)
    return float(np.abs(left).max()) < _UNEXPLAINED


@lru_cache(maxsize=1)
def _surface() -> Floats:
    """(pixels of a sketch, 10) orthonormal: the polynomials in x and y up to the third degree."""
    axis = np.linspace(-1, 1, _SKETCH_PX)
    x, y = (one.ravel() for one in np.meshgrid(axis, axis))
    powers = [x**i * y**j for i in range(4) for j in range(4 - i)]
    orthonormal, _ = np.linalg.qr(np.stack(powers, axis=1))
    return np.asarray(orthonormal, np.float32)
