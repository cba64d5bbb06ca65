"""a proven pair → which one is the copy, and which edits were probably done.

A crop is a copy of the whole, a picture inside another one comes from outside of it, and what is
smaller or softer over the same region was made from what is larger or sharper (Jiang et al.,
ASL/NDEC).
"""

from __future__ import annotations

import math

import numpy as np

from copydetect.evidence import Evidence
from copydetect.geometry import apply
from copydetect.pair_images import PairImage
from copydetect.types import Direction

_WHOLE = 0.93
_PART = 0.85


def direction_of(evidence: Evidence, query: PairImage, reference: PairImage) -> Direction:
    """Who was made from whom, or unknown; a positive score says that the query is the copy."""
    score = 0.0
    in_query, in_reference = evidence["query_overlap"], evidence["reference_overlap"]
    if in_query > _WHOLE and in_reference < _PART:
        score += 1.0  # the query shows a part of the reference
    elif in_reference > _WHOLE and in_query < _PART:
        score -= 1.0
    if abs(evidence["blur_px"]) > 0.9:
        score += math.copysign(0.6, evidence["blur_px"])
    enlargement = _full_scale(evidence, query, reference)
    if enlargement > 1.15:
        score += 0.5  # the reference has more px for the same region
    elif enlargement < 1 / 1.15:
        score -= 0.5
    if abs(score) < 0.4:
        return "unknown"
    return "query_is_copy" if score > 0 else "reference_is_copy"


def probable_edits(evidence: Evidence, query: PairImage, reference: PairImage) -> list[str]:
    """What was probably done, in words, from the shape of the transform and the cells."""
    matrix = evidence.alignment.matrix
    edits = []
    if evidence.alignment.mirrored:
        edits.append("mirrored")
    turn = _turn_deg(evidence)
    if abs(turn) > 2:
        edits.append(f"rotated {turn:.0f}°")
    if evidence["log2_stretch"] > 0.12:
        edits.append("stretched")
    if evidence.alignment.model == "homography" and evidence["perspective"] > 0.05:
        edits.append("perspective")
    smallest = min(evidence["query_overlap"], evidence["reference_overlap"])
    if smallest < _PART:
        edits.append(f"cropped or pasted: {smallest:.0%} of one picture is shared")
    if abs(evidence["blur_px"]) > 0.9:
        edits.append("blurred")
    chroma = evidence["chroma_correlation"]
    colourful = [float(image.chroma.std(axis=(0, 1)).max()) > 4 for image in (query, reference)]
    if colourful[0] != colourful[1]:
        edits.append("colour removed")
    elif not math.isnan(chroma) and chroma < 0.7:
        edits.append("recoloured")
    if evidence["regions"] > 1 and np.isfinite(matrix).all():
        edits.append("several regions")
    return edits


def _full_scale(evidence: Evidence, query: PairImage, reference: PairImage) -> float:
    """Full-size px of the reference for one of the query, in the middle of the shared region."""
    full = reference.to_full @ evidence.alignment.matrix @ np.linalg.inv(query.to_full)
    middle = np.array([[query.full_width_px / 2, query.full_height_px / 2]])
    ends = apply(full, middle + np.array([[0, 0], [1, 0], [0, 1]]))
    (a, b), (c, d) = ends[1] - ends[0], ends[2] - ends[0]
    return float(np.sqrt(abs(a * d - b * c)))


def _turn_deg(evidence: Evidence) -> float:
    """By how much the query is turned against the reference, −180…180, mirroring taken out."""
    linear = evidence.alignment.matrix[:2, :2].copy()
    if evidence.alignment.mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    return float(np.rad2deg(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])))
