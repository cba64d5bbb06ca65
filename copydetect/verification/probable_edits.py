"""a proven pair → what was probably done to one of them, in words."""

from __future__ import annotations

import math

import numpy as np

from copydetect.verification.evidence import Evidence
from copydetect.verification.pair_images import PairImage

_PART = 0.85


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


def _turn_deg(evidence: Evidence) -> float:
    """By how much the query is turned against the reference, −180…180, mirroring taken out."""
    linear = evidence.alignment.matrix[:2, :2].copy()
    if evidence.alignment.mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    return float(np.rad2deg(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])))
