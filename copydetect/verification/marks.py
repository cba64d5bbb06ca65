"""two aligned pictures → what stands on their plain ground in one of them alone.

A drawing over a page adds marks to one of two copies. Two fillings of a form, two puzzles or two
icons of a set both have marks where the other one shows the ground.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from copydetect.verification.agreement import Overlap
from copydetect.verification.counting import mode_of, number_of
from copydetect.verification.pair_images import Floats

_GROUND_LEVELS, _MARK_LEVELS = 14.0, 28.0
"""Grey levels from the ground's: below the one it is ground, above the other a mark."""
_PLAIN = 0.4
"""Which share of a picture the commonest level must have to be its ground."""


def own_marks(pair: Overlap, rest: Floats, valid: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Of the shared area: the smaller of both pictures' shares of marks that the other has not, and
    the share of marks that both have; 0 where nothing differs or one has no plain ground.

    rest: (h, w) by how many levels the pictures differ where each may move by a px; valid: where
    the frame shows both.
    """
    differs = valid & (rest > _MARK_LEVELS)
    if not differs.any():
        return 0.0, 0.0
    both = pair.query, pair.reference
    seen = valid[::2, ::2]
    (level, plain), (other_level, other_plain) = (mode_of(one[::2, ::2][seen]) for one in both)
    if min(plain, other_plain) < _PLAIN:
        return 0.0, 0.0
    away = np.abs(pair.query - level), np.abs(pair.reference - other_level)
    marks = [one > _MARK_LEVELS for one in away]
    ground = [one < _GROUND_LEVELS for one in away]
    of_query = number_of(differs & marks[0] & ground[1])
    of_reference = number_of(differs & marks[1] & ground[0])
    shared = number_of(valid & ~differs & marks[0] & marks[1])
    total = max(number_of(valid), 1)
    return min(of_query, of_reference) / total, shared / total
