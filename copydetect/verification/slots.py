"""two aligned pictures → whether they are one window or page whose slot shows two pictures.

An overlay covers part of a picture: where it ends, the picture itself goes on without an edge. A
window, a page or a template has a slot with borders of its own, and whatever fills it ends there.
So where two copies of a frame differ, and both have an edge along the sides of what differs, the
frame is all that they share. A slot that is wider or higher than its picture has bars beside it, of
another level than the page: there the border is behind the bar. Photos may differ in a box with
borders by chance; what frames have besides is much plain ground.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.verification.agreement import Overlap
from copydetect.verification.bands import STRIDE, LocalCorrelation
from copydetect.verification.counting import mode_of
from copydetect.verification.pair_images import Floats

FRAMED = 0.33
"""The share of each picture that must be plain ground: below it no slot is looked for."""
_SMALLEST = 0.02
"""Of the shared area: smaller slots hold no picture."""
_JOINED = 5
"""Places of `LocalCorrelation` that are joined to one slot."""
_REACH_PX = 14
"""How far a border may lie from the box of what differs: windows reach over it."""
_EDGE_PX, _EDGE_LEVELS = 2, 16.0
"""An edge is a step of so many grey levels within so many px on both sides."""
_LEAST_SIDE_PX = 6
_BAR, _WIDEST_BAR_PX = 0.6, 320
"""The widest bar beside a picture: of the longer side of its box, and in px."""
_BORDER, _IN_A_BAR = 0.6, 0.2
"""How much of a side must be an edge in both pictures to be a border behind a bar; and how much of
one column of a bar may be an edge, or outside of a picture, at most."""
_OTHER_LEVEL = 14.0
"""By how many grey levels a bar is not the ground of the page."""
_AHEAD_PX = 5
"""Width of an edge in which both pictures' may be, with what sharpening leaves beside it."""

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
    around = _REACH_PX + _EDGE_PX + round(min(_BAR * max(box[1]), _WIDEST_BAR_PX))
    both, (width, height) = _upright(pair, valid, box, around)
    some = np.s_[::STRIDE, ::STRIDE]
    grounds = [mode_of(grey[some][at])[0] for grey in (pair.query, pair.reference)]
    sides = []
    for shown, across, along in ((both, width, height), ([one.T for one in both], height, width)):
        ends = around, around + along
        opposite = ((around, -1), (around + across, 1))
        sides += [_shared_edge(shown, grounds, side, ends) for side in opposite]
    return sorted(sides)[1]


def _upright(
    pair: Overlap, valid: npt.NDArray[np.bool_], box: cv2.typing.RotatedRect, around: int
) -> tuple[tuple[Floats, Floats], _Size]:
    """What both pictures show in a turned box and `around` px about it, NaN where they do not; and
    the width and height of the box in px."""
    middle, (width, height), angle = box
    if angle > 45:
        width, height, angle = height, width, angle - 90
    size = int(width), int(height)
    there = np.asarray(cv2.getRotationMatrix2D(middle, angle, 1.0), np.float64)
    there[:, 2] += np.array([width, height]) / 2 + around - middle
    shown = size[0] + 2 * around, size[1] + 2 * around
    query, reference = (
        np.asarray(
            cv2.warpAffine(
                np.where(valid, grey, np.float32(np.nan)), there, shown, borderValue=(np.nan,)
            ),
            np.float32,
        )
        for grey in (pair.query, pair.reference)
    )
    return (query, reference), size


def _shared_edge(
    both: Sequence[Floats], grounds: Sequence[float], side: tuple[int, int], ends: tuple[int, int]
) -> float:
    """The share of rows that have an edge in both at one place, near a column or behind the bar
    that begins there.

    grounds: grey levels of both pages; side: the column, and −1 or 1, the direction to what is
    around the box; ends: the first row, and that after the last.
    """
    (at_px, outwards), (first, last) = side, ends
    margin = (last - first) // 8
    rows = slice(first + margin, last - margin)
    if rows.stop - rows.start < _LEAST_SIDE_PX:
        return 0.0
    edges = np.stack([_edges(grey[rows]) for grey in both])
    one_px, ahead = np.ones((1, 3), np.uint8), np.ones((1, _AHEAD_PX), np.uint8)
    shared = cv2.dilate(edges, one_px).min(axis=0)
    near = float(shared[at_px - _REACH_PX : at_px + _REACH_PX + 1].max())
    last_px = shared.size if outwards > 0 else -1
    bar = np.arange(at_px + outwards * _REACH_PX, last_px, outwards)
    border = cv2.dilate(shared[None], ahead)[0, bar]
    unknown = np.isnan(both[0][rows]).mean(axis=0)
    over = (border >= _BORDER) | (np.maximum(edges.max(axis=0), unknown)[bar] > _IN_A_BAR)
    found = int(over.argmax())
    levels = [np.median(grey[rows][:, bar[: found + 1]]) for grey in both]
    is_bar = all(abs(one - page) > _OTHER_LEVEL for one, page in zip(levels, grounds, strict=True))
    return max(near, float(border[found])) if over.any() and is_bar else near


def _edges(grey: Floats) -> Floats:
    """(columns,) the share of rows (rows, columns) that have an edge at each column."""
    steps = np.abs(grey[:, 2 * _EDGE_PX :] - grey[:, : -2 * _EDGE_PX]) > _EDGE_LEVELS
    found = np.zeros(grey.shape[1], np.float32)
    found[_EDGE_PX:-_EDGE_PX] = steps.mean(axis=0)
    return found
