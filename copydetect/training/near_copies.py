"""evidence of two pictures of a collection → whether they are too alike to be labelled strangers.

Collections hold near copies that nobody has labelled: one photo in two qualities, one design saved
twice, a window with another button pressed. Such pairs have no true label, and a decision that
learns them as strangers learns to refuse copies. So pictures are compared before any edit,
strictly: at least half of one lies in the other, and there nearly everything agrees down to the
finest detail, undisplaced. A second photo of a scene, another page or another picture in one frame
fails that.
"""

from __future__ import annotations

import numpy as np

from copydetect.types import Floats
from copydetect.verification.evidence import NAMES

_SHARED = 0.5
_AGREES = 0.8
_IN_DETAIL = 0.5
_DISPLACED_PX = 0.5
_FEWEST_CELLS = 6
_SUSPICIOUS = 0.3


def are_near_copies(evidence: Floats) -> bool:
    """Whether any alignment shows near copies; evidence: (alignments, len(NAMES)) of unedited
    pictures."""
    shared = np.maximum(_column(evidence, "query_overlap"), _column(evidence, "reference_overlap"))
    alike = (
        (shared >= _SHARED)
        & (_column(evidence, "agree_cells") >= _FEWEST_CELLS)
        & (_column(evidence, "agree_weighted") >= _AGREES)
        & (_column(evidence, "fine_correlation") >= _IN_DETAIL)
        & (_column(evidence, "shift_spread_px") <= _DISPLACED_PX)
    )
    return bool(alike.any())


def are_suspicious(evidence: Floats) -> bool:
    """Whether edited images agree so much that their unedited pictures must be compared."""
    agree = _column(evidence, "agree_weighted") >= _SUSPICIOUS
    return bool((agree & (_column(evidence, "agree_cells") >= _FEWEST_CELLS)).any())


def _column(evidence: Floats, name: str) -> Floats:
    return evidence[:, NAMES.index(name)]
