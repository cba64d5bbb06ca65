"""two pictures laid edge on edge → whether they are one design, or one place, with something else.

Icons of one set, cards and charts share a ground, a frame and their colours, and often have too few
features, or too many that are alike, for an alignment to be found. Where nearly all of two sketches
is the same, and it is more than one plain ground, the design is what they share.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from copydetect.types import Match, Relation
from copydetect.verification.counting import mode_of, number_of, share_of
from copydetect.verification.pair_images import Floats, PairImage, resizing
from copydetect.verification.regions import outlined

_ALIKE_LEVELS = 16.0
_OTHER_COLOUR = 32.0
_STEEP_LEVELS = 24.0
_SAME_SHAPE = 0.04
"""By how much, as a logarithm, widths over heights may differ."""
_SHARED, _SHARED_COLOURS, _SHARED_STEPS = 0.75, 0.015, 0.1
"""Which share of two sketches must be alike, be alike and not of its ground's colour, and of the
steps that either has. Of 1,674 pairs of two benchmarks that nothing else explains 3 have all three:
two windows of one program and two pairs of garments of one line."""
_DRAWN = 0.4
"""How much of a design is one plain ground: less is a photo, whose camera stood still."""

_REASONS: dict[Relation, str] = {
    "same_layout": "laid edge on edge nearly all agrees: one design with other content",
    "same_scene": "laid edge on edge nearly all agrees: a camera that stood still",
}


def as_one_design(match: Match, query: PairImage, reference: PairImage) -> Match:
    """What is no copy, with the design or scene that both pictures show edge on edge, if any."""
    if match.is_copy or match.relation not in ("none", "same_scene"):
        return match
    same = where_they_agree(query, reference)
    if same is None:
        return match
    sketches = query.sketch, reference.sketch
    plain = min(mode_of(one.mean(axis=2).ravel())[1] for one in sketches)
    relation: Relation = "same_layout" if plain >= _DRAWN else "same_scene"
    if relation == match.relation:
        return match
    height, width = same.shape
    to_full = resizing(query.full_width_px / width, query.full_height_px / height)
    regions = outlined((~same).astype(np.uint8), to_full)
    return replace(match, relation=relation, differs_region=regions, reason=_REASONS[relation])


def where_they_agree(query: PairImage, reference: PairImage) -> npt.NDArray[np.bool_] | None:
    """(h, w) bool of two sketches laid edge on edge, if nearly all of them agrees; else None."""
    shapes = [one.full_width_px / one.full_height_px for one in (query, reference)]
    if abs(np.log(shapes[0] / shapes[1])) > _SAME_SHAPE:
        return None
    ours, theirs = query.sketch, reference.sketch
    same = np.asarray(np.abs(ours - theirs).max(axis=2) < _ALIKE_LEVELS, np.bool_)
    return same if _agree_on_more_than_ground(ours, theirs, same) else None


def _agree_on_more_than_ground(ours: Floats, theirs: Floats, same: npt.NDArray[np.bool_]) -> bool:
    """Whether nearly all of two sketches is the same, steps and a second colour too."""
    if share_of(same) < _SHARED or _shared_steps(ours, theirs) <= _SHARED_STEPS:
        return False
    agreed = ours[same]
    coloured = np.abs(agreed - np.median(agreed, axis=0)).max(axis=1) > _OTHER_COLOUR
    return number_of(coloured) >= _SHARED_COLOURS * same.size


def _shared_steps(ours: Floats, theirs: Floats) -> float:
    """Of the steps from one px of a sketch to the next in either picture, how many both have."""
    steep = shared = 0
    for axis in (0, 1):
        steps = np.diff(ours, axis=axis), np.diff(theirs, axis=axis)
        heights = [np.abs(one).max(axis=2) for one in steps]
        either = np.maximum(*heights) > _STEEP_LEVELS
        alike = np.abs(steps[0] - steps[1]).max(axis=2) < (_STEEP_LEVELS + heights[0]) / 2
        steep += np.count_nonzero(either)
        shared += np.count_nonzero(either & alike)
    return shared / max(steep, 1)
