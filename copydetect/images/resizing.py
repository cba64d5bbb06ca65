"""Pixels in another size."""

from __future__ import annotations

import cv2
import numpy as np

from copydetect.types import Pixels


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Scaled to width × height px: averaged when it shrinks, cubic when it grows."""
    old_height, old_width = pixels.shape[:2]
    if (width, height) == (old_width, old_height):
        return pixels
    shrinks = width * height < old_width * old_height
    mode = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(pixels, (width, height), interpolation=mode).astype(np.uint8, copy=False)


def limited(pixels: Pixels, longest_px: int) -> Pixels:
    """The picture, its longer side at most so long."""
    height, width = pixels.shape[:2]
    scale = min(1.0, longest_px / max(width, height))
    return resized(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
