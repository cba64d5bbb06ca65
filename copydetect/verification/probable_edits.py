"""a proven pair → what was probably done to one of them, in words."""

from __future__ import annotations

import math

import numpy as np

from copydetect.verification.evidence import Evidence
from copydetect.verification.lineage import Signs

_PART = 0.85
_TURNED_DEG = 2.0
_STRETCHED = 0.12
_PERSPECTIVE = 0.05
_SAME_HUE = 0.8
_SAME_SATURATION = 0.35
_SAME_CONTRAST = 0.3
_SAME_LEVEL = 14.0


def probable_edits(evidence: Evidence, signs: Signs) -> list[str]:
    """What was probably done, in words, in the order: shape, part, drawing, sharpness, colours."""
    return [*_of_shape(evidence), *_of_part(evidence, signs), *_of_levels(evidence, signs)]


def _of_shape(evidence: Evidence) -> list[str]:
    edits = []
    if evidence.alignment.mirrored:
        edits.append("mirrored")
    turn = _turn_deg(evidence)
    if abs(turn) > _TURNED_DEG:
        edits.append(f"rotated {_shown_turn(turn)}°")
    if evidence.alignment.model == "homography" and evidence["perspective"] > _PERSPECTIVE:
        edits.append("perspective")
    elif evidence["log2_stretch"] > _STRETCHED:
        edits.append("stretched")
    return edits


def _of_part(evidence: Evidence, signs: Signs) -> list[str]:
    """Which part of one picture the other one shows, or fills."""
    sides = (("query", signs.in_query), ("reference", signs.in_reference))
    edits = []
    for name, sign in sides:
        share = evidence[f"{name}_overlap"]
        if share < _PART and sign > 0:
            edits.append(f"pasted or framed: it fills {share:.0%} of the other picture")
        elif share < _PART and sign < 0:
            edits.append(f"cropped to {share:.0%}")
        elif share < _PART:
            edits.append(f"cropped or pasted: {share:.0%} of one picture is shared")
    return edits


def _of_levels(evidence: Evidence, signs: Signs) -> list[str]:
    edits = []
    if signs.drawn:
        edits.append("drawn or written over")
    if signs.softer:
        edits.append("blurred")
    if signs.greyer:
        edits.append("colour removed")
    elif not math.isnan(signs.hue) and signs.hue < _SAME_HUE:
        edits.append("recoloured")
    elif abs(signs.saturation) > _SAME_SATURATION and not _tone_changed(signs):
        edits.append("saturation changed")
    if _tone_changed(signs):
        edits.append("brightness or contrast changed")
    return edits


def _tone_changed(signs: Signs) -> bool:
    """Whether grey levels of 64 and 192 are others than in the other image."""
    contrast = abs(math.log2(max(abs(signs.gain), 1e-3))) > _SAME_CONTRAST
    shifts = [abs(signs.gain * level + signs.offset - level) for level in (64, 192)]
    return contrast or float(np.mean(shifts)) > _SAME_LEVEL


def _shown_turn(turn_deg: float) -> int:
    """−179…180: upside down is the same either way."""
    shown = round(turn_deg)
    return 180 if shown == -180 else shown


def _turn_deg(evidence: Evidence) -> float:
    """By how much the query is turned against the reference, −180…180, mirroring taken out."""
    linear = evidence.alignment.matrix[:2, :2].copy()
    if evidence.alignment.mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    return float(np.rad2deg(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])))
