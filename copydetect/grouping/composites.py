"""Copies made of several pictures: collages, and pictures with another one pasted in.

A collage is a copy of each picture in it, but these are no copies of each other. The places tell:
originals that fill different parts of an image are different pictures. The image is grouped only
with the originals of its largest part.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Boxes = npt.NDArray[np.float64]
"""(n, 4) left, top, right, bottom in px."""

_SHARED = 0.2
"""Of the smaller box: places that share less lie apart."""


def apart_in_composites(
    copies: npt.NDArray[np.int64], boxes: Boxes, counted: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """(n,) which pairs of a copy and an original must not join the original with the others.

    copies: (n,) number of the image that was made from the other one; boxes: (n, 4), where the
    other one is in it; counted: (n,) bool, pairs that are copies, of known direction.
    """
    apart = np.zeros(len(copies), bool)
    rows = np.flatnonzero(counted)
    rows = rows[np.argsort(copies[rows], kind="stable")]
    for some in np.split(rows, np.flatnonzero(np.diff(copies[rows])) + 1):
        if len(some) > 1:
            places = _places(boxes[some])
            apart[some] = places != 0
    return apart


def copies_and_boxes(
    matches: pa.Table, query: npt.NDArray[np.int64], reference: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], Boxes, npt.NDArray[np.bool_]]:
    """The arguments of `apart_in_composites` from a `matches` table and its numbers of images."""
    directions = matches["direction"].to_pylist()
    copied = np.array([direction == "reference_is_copy" for direction in directions], bool)
    known = np.array([direction != "unknown" for direction in directions], bool)
    known &= matches["is_copy"].to_numpy().astype(bool)
    boxes = np.zeros((len(known), 4))
    regions = [matches[name].to_pylist() for name in ("query_region", "reference_region")]
    for row in np.flatnonzero(known):
        points = np.array([n for one in regions[int(copied[row])][row] for n in one]).reshape(-1, 2)
        known[row] = len(points) > 2
        if known[row]:
            boxes[row] = *points.min(axis=0), *points.max(axis=0)
    return np.where(copied, reference, query), boxes, known


def _places(boxes: Boxes) -> npt.NDArray[np.int64]:
    """(n,) number of the place that each box is at, 0 for that of the largest."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    places = np.full(len(boxes), -1, np.int64)
    number = 0
    for row in np.argsort(-area, kind="stable"):
        if places[row] < 0:
            low = np.maximum(boxes[:, :2], boxes[row, :2])
            high = np.minimum(boxes[:, 2:], boxes[row, 2:])
            shared = np.prod(np.maximum(high - low, 0), axis=1)
            here = (places < 0) & (shared >= _SHARED * np.minimum(area, area[row]))
            places[here] = number
            places[row] = number
            number += 1
    return places
