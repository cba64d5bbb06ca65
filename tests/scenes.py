"""Made pictures with structure at every scale, different for each seed."""

from __future__ import annotations

import cv2
import numpy as np

from copydetect.types import Pixels


def scene(seed: int, width_px: int, height_px: int) -> Pixels:
    """Clouds of noise at several scales under shapes of random place, size and colour."""
    rng = np.random.default_rng(seed)
    canvas = np.full((height_px, width_px, 3), 110, np.float32)
    for cells, strength in ((4, 60), (12, 30), (40, 25)):
        noise = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        canvas += cv2.resize(noise, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    unit = max(width_px, height_px) / 40
    for _ in range(40):
        centre = (int(rng.integers(width_px)), int(rng.integers(height_px)))
        axes = (int(rng.uniform(0.5, 4) * unit), int(rng.uniform(0.5, 4) * unit))
        colour = tuple(float(c) for c in rng.uniform(0, 255, 3))
        cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    return np.clip(canvas, 0, 255).astype(np.uint8)
