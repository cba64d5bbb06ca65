"""an alignment of a pair → the same to well under a pixel, at full size.

What geometry and cells leave is a pixel or two, and that hides whether glyphs or leaves differ. The
motion of a plane is fitted to the levels of both pictures where there is texture (Lucas and Kanade
1981, with the eight parameters of Bergen et al. 1992), robustly, so that what moved or was drawn
over does not count. Small and blurred pictures tell it to a px, also of thin lines that lie beside
each other: before they are blurred these share nothing, not even which levels mean the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix, inverse
from copydetect.verification.agreement import Overlap, blurred, overlap
from copydetect.verification.geometry import is_plausible
from copydetect.verification.pair_images import Floats, PairImage

_ALIGNED_PX = 640
"""The longest side at which the motion is fitted: many places make up for less detail."""
_MOST_PLACES = 1500
_FEWEST_PLACES = 60
_COARSE_PX, _COARSE_BLUR_PX, _FINE_BLUR_PX = 320, 2.0, 0.7
"""The longest side, and the blur's standard deviation, at which what is some px away is found; the
blur that tells it to a fraction of a px."""
_STEEP = 1.5
"""Gradient in levels per px from which a place has texture."""
_FIT_ROUNDS = 6
_STILL_PX = 0.05
"""Where a round changes no number of a motion by more, in px at the longer side's ends, it is the
last."""
_WILD = 0.25
"""Of half of the longer side: a motion that moves places by more is astray."""
_CLIPPED_LEVELS = 20.0
"""Places that differ by more say no more against a motion."""
_ROBUST_LEVELS, _ROBUST_MEDIANS = 4.0, 3.0
"""Places count a quarter where they differ by so many grey levels or, if that is more, by the
median difference so many times."""
_RIDGE, _STIFFNESS = 1e-5, 0.02
"""How much every parameter, and how much the two of the horizon besides, are held back: shares of
the mean of the normal equations' diagonal."""
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
    pair = overlap(matrix, query, reference, min(frame_px, _ALIGNED_PX))
    step = None if pair is None else _motion(pair)
    if pair is not None and step is not None:
        moved = inverse(pair.reference_to_frame) @ step @ pair.to_frame
        moved = np.asarray(moved / moved[2, 2], np.float64)
        matrix = moved if is_plausible(moved, query, reference) else matrix
    pair = overlap(matrix, query, reference, frame_px)
    return None if pair is None else (matrix, pair)


def flow_between(pair: Overlap, step: int = 1) -> Floats:
    """(⌈h / step⌉, ⌈w / step⌉, 2): how far each place of the query still has to move to lie on the
    reference, in steps, by dense optical flow (DIS, Kroeger et al. 2016).

    step: in px, from one place to the next.
    """
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
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

    Also returns the part of the reference's variance that the query then explains, 0…1.
    """
    some = np.s_[::_TONE_STRIDE, ::_TONE_STRIDE]
    inside = pair.inside[some] > 0
    levels = _levels(pair.query)
    seen, meant = levels[some][inside], pair.reference[some][inside]
    curve = _tone_curve(seen, meant)
    if curve is None:
        return pair, 0.0
    left = meant - curve[seen]
    explained = 1 - float(np.vdot(left, left)) / len(left) / max(float(meant.var()), 1.0)
    return replace(pair, query=np.asarray(cv2.LUT(levels, curve), np.float32)), max(explained, 0.0)


def _tone_curve(seen: npt.NDArray[np.uint8], meant: Floats) -> Floats | None:
    """(256,) which level is meant, on average, where each level is seen; None where too few tell.

    seen, meant: (n,) levels of the same places.

    Any curve is allowed, also that of a negative. Levels beyond those that are common, as of a
    small black mark on white, stay as far from the last of these.
    """
    nearest = _NEAREST_LEVEL[seen]
    count = np.bincount(nearest, minlength=_TONE_LEVELS)
    enough = count >= _FEWEST_OF_LEVEL
    if np.count_nonzero(enough) < 2:
        return None
    known, wanted = (
        np.bincount(nearest, values, _TONE_LEVELS)[enough] / count[enough]
        for values in (seen, meant)
    )
    every = np.arange(256)
    beyond = every - np.clip(every, known[0], known[-1])
    curve = np.interp(every, known, wanted) + np.sign(wanted[-1] - wanted[0]) * beyond
    return np.asarray(np.clip(curve, 0, 255), np.float32)


def _levels(grey: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The same in whole grey levels."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(grey, 0)), np.uint8)


def steepness(grey: Floats) -> Floats:
    """(h, w) length of the gradient, in levels per px."""
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _motion(pair: Overlap) -> Matrix | None:
    """The motion of a plane in frame px under which both show the same; None where too little has
    texture."""
    coarse, _ = with_one_tone(_coarse(pair))
    fine = _blurred(pair, _FINE_BLUR_PX)
    places, finer = _places(coarse), _places(fine)
    if min(places.shape[1], finer.shape[1]) < _FEWEST_PLACES:
        return None
    still = np.eye(3)
    found = _fitted(still, _Texture.of(coarse, places))
    exact = _Texture.of(fine, finer)
    starts = ((start, exact.with_one_tone(start)) for start in (still, found))
    start, texture = min(starts, key=lambda one: one[1].miss(one[0]))
    to_frame = _to_px(pair)
    return np.asarray(to_frame @ _fitted(start, texture) @ inverse(to_frame), np.float64)


def _places(pair: Overlap) -> npt.NDArray[np.float64]:
    """(3, n) places where both have texture, of which the longer side spans −1…1, and ones."""
    steep = np.minimum(steepness(pair.query), steepness(pair.reference))
    at = np.flatnonzero((steep > _STEEP) & (pair.inside > 0.99))
    at = at[:: max(1, len(at) // _MOST_PLACES)]
    rows, columns = np.divmod(at, steep.shape[1])
    px = np.stack([columns, rows, np.ones(len(at))])
    return np.asarray(inverse(_to_px(pair)) @ px, np.float64)


def _coarse(pair: Overlap) -> Overlap:
    """Both pictures at most `_COARSE_PX` large, or half as large, and blurred."""
    height, width = pair.query.shape
    scale = min(1.0, max(_COARSE_PX / max(height, width), 0.5))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    query, reference, inside = (
        np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)
        for plane in (pair.query, pair.reference, pair.inside)
    )
    shrunk = replace(pair, query=query, reference=reference, inside=inside)
    return _blurred(shrunk, _COARSE_BLUR_PX)


def _blurred(pair: Overlap, blur_px: float) -> Overlap:
    query, reference = (blurred(grey, blur_px) for grey in (pair.query, pair.reference))
    return replace(pair, query=query, reference=reference)


def _to_px(pair: Overlap) -> Matrix:
    """Places of which the longer side spans −1…1 → px of the frame."""
    height, width = pair.query.shape
    scale = max(height, width) / 2
    return np.array([[scale, 0, (width - 1) / 2], [0, scale, (height - 1) / 2], [0, 0, 1]])


@dataclass(frozen=True, eq=False)
class _Texture:
    """What a motion is fitted to.

    xy: (3, n) places of the query, −1…1, and ones; to_px: (3, 3) these → px; wanted: (n,) levels of
    the query there; slopes: (h, w, 3) levels of the reference, and by how many they rise where x
    and y do by 1.
    """

    xy: Floats
    to_px: Matrix
    wanted: Floats
    slopes: Floats

    @classmethod
    def of(cls, pair: Overlap, xy: npt.NDArray[np.float64]) -> _Texture:
        to_px = _to_px(pair)
        x, y, _ = (to_px @ xy).astype(np.float32)
        wanted = np.asarray(cv2.remap(pair.query, x, y, cv2.INTER_LINEAR), np.float32).ravel()
        across, down = (
            cv2.Sobel(pair.reference, cv2.CV_32F, *order, ksize=3, scale=to_px[0, 0] / 8)
            for order in ((1, 0), (0, 1))
        )
        slopes = np.asarray(cv2.merge([pair.reference, across, down]), np.float32)
        return cls(xy.astype(np.float32), to_px, wanted, slopes)

    def at(self, motion: Matrix) -> tuple[Floats, Floats]:
        """(n,) by how many levels the query is above the reference, and (2, n) slopes there."""
        x, y, depth = (self.to_px @ motion).astype(np.float32) @ self.xy
        seen = cv2.remap(
            self.slopes, x / depth, y / depth, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        levels, *slopes = np.asarray(seen, np.float32).reshape(-1, 3).T
        return self.wanted - levels, np.stack(slopes)

    def with_one_tone(self, motion: Matrix) -> _Texture:
        """The same with the levels that the reference has there under a motion, on average."""
        levels = _levels(self.wanted).ravel()
        curve = _tone_curve(levels, self.wanted - self.at(motion)[0])
        return self if curve is None else replace(self, wanted=curve[levels])

    def miss(self, motion: Matrix) -> float:
        """The mean difference in levels."""
        return _clipped_mean(self.at(motion)[0])


def _clipped_mean(left: Floats) -> float:
    return float(np.minimum(np.abs(left), _CLIPPED_LEVELS).mean())


def _fitted(motion: Matrix, texture: _Texture) -> Matrix:
    """The best motion of some rounds of Gauss and Newton, weighted after Geman and McClure.

    A place x, y moves in x by (x, y, 1, x², xy) · (a, b, across, e, f), in y by (x, y, 1, xy, y²) ·
    (c, d, down, e, f). Contrast may change a little, too: levels that were brought to those of what
    is not there yet are too flat.
    """
    tone = np.stack([texture.wanted - texture.wanted.mean(), texture.xy[2]])
    moved = np.concatenate([np.zeros((8, tone.shape[1]), np.float32), -tone])
    change = np.zeros(2, np.float32)
    left, (across, down) = texture.at(motion)
    least, best = _clipped_mean(left), motion
    still = _STILL_PX / texture.to_px[0, 0]
    for _ in range(_FIT_ROUNDS):
        apart = left + change @ tone
        reach = max(_ROBUST_LEVELS, _ROBUST_MEDIANS * float(np.median(np.abs(apart))))
        weight = 1 / (1 + (apart / reach) ** 2) ** 2
        np.multiply(across, texture.xy, out=moved[:3])
        np.multiply(down, texture.xy, out=moved[3:6])
        np.multiply(moved[0] + moved[4], texture.xy[:2], out=moved[6:8])
        weighted = moved * weight
        normal = (weighted @ moved.T).astype(np.float64)
        usual = max(float(np.trace(normal[:8, :8])) / 8, 1e-3)
        normal += np.diag([_RIDGE] * 6 + [_RIDGE + _STIFFNESS] * 2 + [_RIDGE] * 2) * usual
        *step, gain, offset = np.linalg.solve(normal, weighted @ left)
        a, b, right, c, d, below, e, f = step
        motion = motion + np.array([[a, b, right], [c, d, below], [-e, -f, 0]])
        if np.abs(motion - np.eye(3)).max() > _WILD:
            break
        change = np.array([gain, offset], np.float32)
        left, (across, down) = texture.at(motion)
        miss = _clipped_mean(left + change @ tone)
        if miss < least:
            least, best = miss, motion
        if np.abs(step).max() < still:
            break
    return best
