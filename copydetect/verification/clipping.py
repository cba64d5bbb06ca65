"""Two aligned pictures → which of them has lost its lights or shadows to the end of the scale.

More light or contrast moves levels beyond white or black, where they stay. So where one picture is
white or black and the other one, by the tone that both have elsewhere, should lie well beyond, the
first one was made from the second. Nobody can do it the other way round: what is clipped is gone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from copydetect.verification.agreement import blurred
from copydetect.verification.counting import number_of
from copydetect.verification.pair_images import Floats

_BLUR_PX = 1.0
"""Noise on white varies too; what was there before it was clipped is larger."""
_WHITE, _BLACK = 251.0, 4.0
_INSIDE = 8.0
"""Levels from both ends: the others tell the tone."""
_BEYOND = 16.0
"""Levels: at 12 a change of hue may look like one of light."""
_SHARE, _CLEARLY = 0.001, 4.0
_TONE_STRIDE = 5
_FEWEST_PX = 50
_LEAST_GAIN = 0.2
_OUTLIERS = 2.0


def clipped(query: Floats, reference: Floats, inside: npt.NDArray[np.bool_]) -> float:
    """1 where the query is clipped and the reference is not, −1 the other way round, else 0.

    query, reference: (h, w) grey levels 0…255 in one frame; inside: (h, w) where both have pixels.
    """
    query, reference = (blurred(grey, _BLUR_PX) for grey in (query, reference))
    of_query, of_reference = _lost(query, reference, inside), _lost(reference, query, inside)
    if max(of_query, of_reference) <= max(_SHARE, _CLEARLY * min(of_query, of_reference)):
        return 0.0
    return 1.0 if of_query > of_reference else -1.0


def _lost(first: Floats, second: Floats, inside: npt.NDArray[np.bool_]) -> float:
    """0…1, where the first picture is white or black, and would be beyond by the second one.

    0 where it is white or black in too few places to count.
    """
    area = max(number_of(inside), 1)
    ends = ((first >= _WHITE) | (first <= _BLACK)) & inside
    if number_of(ends) <= _SHARE / _CLEARLY * area:
        return 0.0
    some = np.s_[::_TONE_STRIDE, ::_TONE_STRIDE]
    told = inside[some].copy()
    for grey in (first[some], second[some]):
        told &= (grey > _INSIDE) & (grey < 255 - _INSIDE)
    known, meant = second[some][told], first[some][told]
    gain, offset = 0.0, 0.0
    for _ in range(2):
        if len(known) < _FEWEST_PX:
            return 0.0
        gain, offset = np.polyfit(known, meant, 1).tolist()
        away = np.abs(gain * known + offset - meant)
        near = away <= _OUTLIERS * np.median(away) + 1
        known, meant = known[near], meant[near]
    if abs(gain) < _LEAST_GAIN:
        return 0.0
    foretold = gain * second + offset
    white = (first >= _WHITE) & (foretold > 255 + _BEYOND)
    black = (first <= _BLACK) & (foretold < -_BEYOND)
    return number_of((white | black) & inside) / area
