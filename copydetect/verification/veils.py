"""Two aligned pictures → over which of them something see-through was laid.

A stripe, a watermark or a second picture that lets the first one through weakens its contrast
there; so do local blur and pixels. Where two pictures differ and still show the same, the one with
less contrast, beside what both have elsewhere, was made from the other.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.verification.agreement import blurred
from copydetect.verification.counting import number_of
from copydetect.verification.pair_images import Floats

_FINE_PX = 3.0
"""Contrast is counted below this size: the veil itself has none there."""
_THE_SAME = 0.45
_WEAKENED = 1.4
"""Correlation of what shows there, and times its contrast: right for 30 of 31 pairs with a known
original, of which 14 of 15 had no other sign."""
_LEAST_SHARE, _MOST_SHARE = 0.005, 0.5
_FEWEST_PX, _FEWEST_BESIDE_PX = 150, 400


def veiled(
    foretold: Floats,
    reference: Floats,
    differs: npt.NDArray[np.bool_],
    agree: npt.NDArray[np.bool_],
) -> float:
    """1 where the query has the weaker contrast in what differs, −1 where the reference has, or 0.

    foretold: (h, w) the query in the reference's tone; differs, agree: (h, w) where they do.
    """
    closed = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    if not _LEAST_SHARE < cv2.countNonZero(closed) / closed.size < _MOST_SHARE:
        return 0.0
    inner = cv2.erode(closed, np.ones((3, 3), np.uint8)).astype(bool)
    beside = agree & ~cv2.dilate(closed, np.ones((7, 7), np.uint8)).astype(bool)
    if number_of(inner) < _FEWEST_PX or number_of(beside) < _FEWEST_BESIDE_PX:
        return 0.0
    first, second = (grey - blurred(grey, _FINE_PX) for grey in (foretold, reference))
    if min(float(one[where].std()) for one in (first, second) for where in (inner, beside)) < 1e-3:
        return 0.0
    if float(np.corrcoef(first[inner], second[inner])[0, 1]) < _THE_SAME:
        return 0.0
    usual = float(second[beside].std() / first[beside].std())
    ratio = float(second[inner].std() / first[inner].std()) / usual
    if max(ratio, 1 / ratio) < _WEAKENED:
        return 0.0
    return 1.0 if ratio > 1 else -1.0
