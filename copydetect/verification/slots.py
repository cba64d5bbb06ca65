"""two aligned pictures → whether they are one window or page whose slot shows two pictures.

An overlay covers part of a picture: where it ends, the picture itself goes on without an edge. A
window, a page or a template has a slot with borders of its own, and whatever fills it ends there.
So where two copies of a frame differ, and both have an edge along the sides of what differs, the
frame is all that they share. Photos may differ in a box with borders by chance; what frames have
besides is much plain ground.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.verification.agreement import Overlap
from copydetect.verification.bands import DIFFERS, STRIDE, LocalCorrelation
from copydetect.verification.pair_images import Floats

_SMALLEST = 0.02
"""Of the shared area: smaller slots hold no picture."""
_JOINED = 5
"""Places of `LocalCorrelation` that are joined to one slot."""
_REACH_PX = 14
"""How far a border may lie from the box of what differs: windows reach over it."""
_EDGE_PX, _EDGE_LEVELS = 2, 16.0
"""An edge is a step of so many grey levels within so many px on both sides."""
_LEAST_SIDE_PX = 6


def slot_borders(pair: Overlap, middle: LocalCorrelation, valid: npt.NDArray[np.bool_]) -> float:
    """0…1: how much of the third best side of the largest place that differs is an edge in both.

    pair: both pictures in one frame; middle: their correlation in the band of middle detail; valid:
    (h, w) where the frame shows both. 0 where no place of some size differs.
    """
    at = valid[::STRIDE, ::STRIDE]
    apart = (middle.both & (middle.correlation < DIFFERS)) | middle.one_query | middle.one_reference
    near = np.ones((_JOINED, _JOINED), np.uint8)
    joined = cv2.morphologyEx((apart & at).astype(np.uint8), cv2.MORPH_CLOSE, near)
    number, _, sizes, _ = cv2.connectedComponentsWithStats(joined)
    if number < 2:
        return 0.0
    x, y, width, height, area = (int(n) for n in max(sizes[1:], key=lambda one: one[4]))
    if area < _SMALLEST * np.count_nonzero(at):
        return 0.0
    left, top, right, bottom = (n * STRIDE for n in (x, y, x + width, y + height))
    both = pair.query, pair.reference
    turned = pair.query.T, pair.reference.T
    sides = [_shared_edge(both, at_px, top, bottom) for at_px in (left, right)]
    sides += [_shared_edge(turned, at_px, left, right) for at_px in (top, bottom)]
    return sorted(sides)[1]


def _shared_edge(both: tuple[Floats, Floats], at_px: int, first: int, last: int) -> float:
    """The share of rows first…last that have an edge near a column, in both at one place."""
    margin = (last - first) // 8
    rows = slice(first + margin, last - margin)
    if rows.stop - rows.start < _LEAST_SIDE_PX:
        return 0.0
    columns = np.arange(at_px - _REACH_PX, at_px + _REACH_PX + 1)
    width = both[0].shape[1]
    columns = columns[(columns >= _EDGE_PX) & (columns < width - _EDGE_PX)]
    if not len(columns):
        return 0.0
    query, reference = (
        (np.abs(grey[rows, columns + _EDGE_PX] - grey[rows, columns - _EDGE_PX]) > _EDGE_LEVELS)
        .mean(axis=0)
        .astype(np.float32)[None]
        for grey in both
    )
    one_px = np.ones((1, 3), np.uint8)
    return float(np.minimum(cv2.dilate(query, one_px), cv2.dilate(reference, one_px)).max())
