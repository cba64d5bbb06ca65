"""a judged pair → what its pictures are to each other, as far as their small copies show it."""

from __future__ import annotations

from collections.abc import Sequence

from copydetect.types import Relation
from copydetect.verification.evidence import Evidence

_WHOLE = 0.97
"""Of each picture: where both show so much of each other, nothing was cut off or added."""
_UNMOVED = 0.02
"""What rounding to whole pixels and refining leave of a plain resize, in its linear part."""
_AGREES = 0.9
"""Of the structure, weighted by contrast: quality takes away less."""


def relation_of_copies(evidence: Evidence, edits: Sequence[str]) -> Relation:
    """same_picture or edited; edits: what was probably done to one of them."""
    whole = min(evidence["query_overlap"], evidence["reference_overlap"]) >= _WHOLE
    agrees = evidence["agree_weighted"] >= _AGREES
    return "same_picture" if whole and agrees and not edits and _is_resize(evidence) else "edited"


def _is_resize(evidence: Evidence) -> bool:
    """Whether the transform only scales, upright and by one factor."""
    linear = evidence.alignment.matrix[:2, :2]
    across, down = float(linear[0, 0]), float(linear[1, 1])
    if min(across, down) <= 0:
        return False
    turned = max(abs(float(linear[0, 1])), abs(float(linear[1, 0])))
    return (
        turned <= _UNMOVED * min(across, down)
        and abs(across / down - 1) <= 2 * _UNMOVED
        and evidence["perspective"] <= _UNMOVED
    )
