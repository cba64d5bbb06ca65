"""an alignment of a pair → the same to well under a pixel, at full size.

What geometry and cells leave is a pixel or two, and that hides whether glyphs or leaves differ.
Dense optical flow (DIS, Kroeger et al. 2016) between the aligned pictures says where each place
still has to go; the motion of a plane is fitted to it where there is texture, robustly, so that
what moved or was drawn over does not count.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix, inverse, project
from copydetect.verification.agreement import Overlap, overlap
from copydetect.verification.geometry import is_plausible
from copydetect.verification.pair_images import Floats, PairImage

_STEPS = 4
_ALIGNED_PX = 448
"""The longest side at which the motion is fitted: hundreds of places make up for less detail."""
_REACH_PX = 8.0
_DONE_PX = 0.4
"""Of the corner that a step moves farthest: what the next step would move is far less."""
_MOST_PLACES = 1500
_FEWEST_PLACES = 60
_STEEP = 6.0
"""Gradient in levels per px from which a place has texture."""
_ROBUST_PX = 0.6
_FIT_ROUNDS = 8
_SETTLED = 0.02
"""Of `_ROBUST_PX`: where a round changes no more, the next would not either."""
# Of a plane's motion (a, b, across, c, d, down, e, f): which parameters move a place in x, and in
# y, and which of the monomials 1, x, y, x², xy, y² goes with each.
_IN_X = np.array([[0, 1, 2, 6, 7], [1, 2, 0, 3, 4]])
_IN_Y = np.array([[3, 4, 5, 6, 7], [1, 2, 0, 4, 5]])
_TONE_LEVELS = 32
_FEWEST_OF_LEVEL = 12
_NEAREST_LEVEL = np.rint(np.arange(256) / 255 * (_TONE_LEVELS - 1)).astype(np.int64)
_TONE_STRIDE = 2
_SMALLEST_FLOW_PX = 40
"""Below 32 px OpenCV chooses its scales by the width alone, and breaks on what is low and wide."""


def align_finely(
    matrix: Matrix, query: PairImage, reference: PairImage, frame_px: int
) -> tuple[Matrix, Overlap] | None:
    """The refined transform and both pictures under it; None where they hardly overlap.

    matrix: query working px → reference working px of these images; frame_px: the longest side at
    which they are compared.
    """
    for _ in range(_STEPS):
        pair = overlap(matrix, query, reference, min(frame_px, _ALIGNED_PX))
        step = _motion(pair) if pair else None
        if pair is None or step is None:
            break
        moved = inverse(pair.reference_to_frame) @ step @ pair.to_frame
        moved = np.asarray(moved / moved[2, 2], np.float64)
        if not is_plausible(moved, query, reference):
            break
        matrix = moved
        if _largest_step(step, pair) < _DONE_PX:
            break
    pair = overlap(matrix, query, reference, frame_px)
    return None if pair is None else (matrix, pair)


def flow_between(pair: Overlap, step: int = 1, smooth: bool = True) -> Floats:
    """(⌈h / step⌉, ⌈w / step⌉, 2): how far each place of the query still has to move to lie on the
    reference, in steps.

    step: in px, from one place to the next; smooth: whether neighbouring places are made to agree,
    which takes half of the time.
    """
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    if not smooth:
        finder.setVariationalRefinementIterations(0)
    height, width = (-(-side // step) for side in pair.query.shape)
    flow = np.zeros((height, width, 2), np.float32)
    if min(height, width) < _SMALLEST_FLOW_PX:
        return flow
    query, reference = (
        _levels(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA))
        for grey in (pair.query, pair.reference)
    )
    return np.asarray(finder.calc(query, reference, flow), np.float32)


def with_one_tone(pair: Overlap) -> tuple[Overlap, float]:
    """The query with the levels that the reference has where it shows the same, on average.

    Any curve is allowed, also that of a negative. Levels beyond those that are common, as of a
    small black mark on white, stay as far from the last of these. Also returns the part of the
    reference's variance that the query then explains, 0…1.
    """
    some = np.s_[::_TONE_STRIDE, ::_TONE_STRIDE]
    inside = pair.inside[some] > 0
    levels = _levels(pair.query)
    seen, meant = levels[some][inside], pair.reference[some][inside]
    nearest = _NEAREST_LEVEL[seen]
    count = np.bincount(nearest, minlength=_TONE_LEVELS)
    enough = count >= _FEWEST_OF_LEVEL
    if np.count_nonzero(enough) < 2:
        return pair, 0.0
    known, wanted = (
        np.bincount(nearest, values, _TONE_LEVELS)[enough] / count[enough]
        for values in (pair.query[some][inside], meant)
    )
    every = np.arange(256)
    beyond = every - np.clip(every, known[0], known[-1])
    curve = np.interp(every, known, wanted) + np.sign(wanted[-1] - wanted[0]) * beyond
    curve = np.clip(curve, 0, 255).astype(np.float32)
    left = meant - curve[seen]
    explained = 1 - float(np.vdot(left, left)) / len(left) / max(float(meant.var()), 1.0)
    return replace(pair, query=np.asarray(cv2.LUT(levels, curve), np.float32)), max(explained, 0.0)


def _levels(grey: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The same in whole grey levels."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(grey, 0)), np.uint8)


def steepness(grey: Floats) -> Floats:
    """(h, w) length of the gradient, in levels per px."""
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _motion(pair: Overlap) -> Matrix | None:
    """The motion of a plane in frame px that the flow asks for; None where too little says so."""
    toned, _ = with_one_tone(pair)
    flow = flow_between(toned, smooth=False)  # the fit sees to that
    weight = np.minimum(steepness(toned.query), steepness(toned.reference))
    near = cv2.magnitude(flow[..., 0], flow[..., 1]) < _REACH_PX
    places = np.flatnonzero((weight > _STEEP) & (toned.inside > 0.99) & near)
    if len(places) < _FEWEST_PLACES:
        return None
    places = places[:: max(1, len(places) // _MOST_PLACES)]
    rows, columns = np.divmod(places, flow.shape[1])
    moved = flow[rows, columns]
    scale = max(flow.shape[:2]) / 2
    centre = np.array([flow.shape[1], flow.shape[0]]) / 2
    xy = (np.stack([columns, rows], axis=1) - centre) / scale
    fitted = _fit(xy, moved / scale, _ROBUST_PX / scale)
    to_centre = np.array(
        [[1 / scale, 0, -centre[0] / scale], [0, 1 / scale, -centre[1] / scale], [0, 0, 1]]
    )
    return np.asarray(np.linalg.inv(to_centre) @ fitted @ to_centre, np.float64)


def _fit(
    xy: npt.NDArray[np.float64], moved: npt.NDArray[np.float64], robust: float
) -> npt.NDArray[np.float64]:
    """Iteratively reweighted least squares (Geman and McClure) of a plane's eight parameters.

    A place moves in x by (1, x, y, x², xy) · (c, a, b, e, f) and in y by (1, x, y, xy, y²) · the
    same of y: all sums that the normal equations need are products of these six monomials.
    """
    x, y = np.ascontiguousarray(xy.T)
    to_x, to_y = np.ascontiguousarray(moved.T)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y, to_x, to_y])
    found = np.zeros(8)
    found[[2, 5]] = np.median(moved, axis=0)
    foretell = np.zeros((2, 8))
    foretell[0, 6] = foretell[1, 7] = -1
    for step in range(_FIT_ROUNDS):
        foretell[0, _IN_X[1]], foretell[1, _IN_Y[1]] = found[_IN_X[0]], found[_IN_Y[0]]
        left = foretell @ terms
        reach = robust * max(1.0, 4.0 / (step + 1))
        left *= left
        weight = 1 / (1 + (left[0] + left[1]) / reach**2) ** 2
        sums = (terms * weight) @ terms.T
        normal = np.eye(8) * 1e-6 * len(x)
        normal[6:, 6:] += np.eye(2) * 0.02 * weight.sum()
        asked = np.zeros(8)
        for parameters, monomials, wanted in ((*_IN_X, 6), (*_IN_Y, 7)):
            normal[parameters[:, None], parameters] += sums[monomials[:, None], monomials]
            asked[parameters] += sums[monomials, wanted]
        before, found = found, np.asarray(np.linalg.solve(normal, asked), np.float64)
        if reach == robust and np.abs(found - before).max() < _SETTLED * robust:
            break
    a, b, across, c, d, down, e, f = found
    return np.array([[1 + a, b, across], [c, 1 + d, down], [-e, -f, 1]])


def _largest_step(step: Matrix, pair: Overlap) -> float:
    """By how many px the farthest corner of the frame moves."""
    height, width = pair.query.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    return float(np.abs(project(step, corners) - corners).max())
