"""An animation → how many frames it has, how long it lasts, and a few of its moments.

Frames are decoded one after the other, because each stores only its difference from the one before.
Memory holds one frame and the moments that were asked for. Animated are GIF, WebP, PNG and AVIF;
the pages of a TIFF and the pictures of a HEIC file are no moments.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from PIL.ImageFile import ImageFile

ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
MOST_FRAMES = 2000
"""Frames that are decoded of one animation at most, however small they are."""

T = TypeVar("T")


@dataclass(frozen=True)
class Moments(Generic[T]):
    """A few moments of an animation, and its extent.

    frames: in the file, 1 where it stands still; duration_msec: of all frames together, None where
    it stands still or not every frame was decoded; later: the moments after the first frame.
    """

    frames: int
    duration_msec: int | None
    later: tuple[T, ...]


def frame_count(image: ImageFile, image_format: str) -> int:
    """How many frames an opened file has; 1 where later ones cannot even be counted."""
    if image_format not in ANIMATED:
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # of a damaged file the first frame may be whole
        return 1


def decode_moments(
    image: ImageFile, frames: int, most: int, count: int, finish: Callable[[ImageFile], T]
) -> Moments[T]:
    """Decode an animation of several frames whose first is loaded.

    most: frames that are decoded at most; count: moments that are wanted, the first included,
    spread evenly over the frames that are decoded; finish: what is made of each. A damaged frame
    ends the animation: what came before it stands.
    """
    decoded = max(1, min(frames, most, MOST_FRAMES))
    wanted = {round(place * (decoded - 1) / max(count - 1, 1)) for place in range(count)} - {0}
    durations = [_duration_msec(image)]
    later: list[T] = []
    # A damaged frame raises as many kinds of errors as Pillow has decoders.
    with contextlib.suppress(Exception):
        for number in range(1, decoded):
            image.seek(number)
            image.load()
            if number in wanted:
                later.append(finish(image))
            durations.append(_duration_msec(image))
    total = sum(durations)
    complete = len(durations) == frames and total > 0
    return Moments(frames, round(total) if complete else None, tuple(later))


def _duration_msec(image: ImageFile) -> float:
    try:
        return float(image.info.get("duration") or 0)
    except (TypeError, ValueError):
        return 0.0
