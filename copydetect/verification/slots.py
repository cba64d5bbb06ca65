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
from copydetect.verification.bands import STRIDE, LocalCorrelation
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
_AROUND_PX = 40
"""What is shown around the box, so that its borders can be looked for."""

_Size = tuple[int, int]


def slot_borders(pair: Overlap, middle: LocalCorrelation, valid: npt.NDArray[np.bool_]) -> float:
    """0…1: how much of the third best side of the largest place that differs is an edge in both.

    pair: both pictures in one frame; middle: their correlation in the band of middle detail; valid:
    (h, w) where the frame shows both. 0 where no place of some size differs.
    """
    at = valid[::STRIDE, ::STRIDE]
    near = np.ones((_JOINED, _JOINED), np.uint8)
    joined = cv2.morphologyEx((middle.apart & at).astype(np.uint8), cv2.MORPH_CLOSE, near)
    number, labels, sizes, _ = cv2.connectedComponentsWithStats(joined)
    if number < 2:
        return 0.0
    largest = 1 + int(np.argmax(sizes[1:, cv2.CC_STAT_AREA]))
    if sizes[largest, cv2.CC_STAT_AREA] < _SMALLEST * np.count_nonzero(at):
        return 0.0
    rows, columns = np.nonzero(labels == largest)
    box = cv2.minAreaRect(np.column_stack([columns, rows]).astype(np.float32) * STRIDE)
    both, (width, height) = _upright(pair, box)
    turned = both[0].T, both[1].T
    ends = _AROUND_PX, _AROUND_PX + width, _AROUND_PX + height
    sides = [_shared_edge(both, at_px, ends[0], ends[2]) for at_px in ends[:2]]
    sides += [_shared_edge(turned, at_px, ends[0], ends[1]) for at_px in (ends[0], ends[2])]
    return sorted(sides)[1]


def _upright(pair: Overlap, box: cv2.typing.RotatedRect) -> tuple[tuple[Floats, Floats], _Size]:
    """What both pictures show in a turned box and around it, and its width and height in px."""
    middle, (width, height), angle = box
    if angle > 45:
        width, height, angle = height, width, angle - 90
    size = int(width), int(height)
    there = np.asarray(cv2.getRotationMatrix2D(middle, angle, 1.0), np.float64)
    there[:, 2] += np.array([width, height]) / 2 + _AROUND_PX - middle
    shown = size[0] + 2 * _AROUND_PX, size[1] + 2 * _AROUND_PX
    query, reference = (
        np.asarray(cv2.warpAffine(grey, there, shown, borderMode=cv2.BORDER_REPLICATE), np.float32)
        for grey in (pair.query, pair.reference)
    )
    return (query, reference), size


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
