"""a proven pair → which one is the copy, and which edits were probably done.

A crop is a copy of the whole, a picture inside another one comes from outside of it, and what is
smaller or softer over the same region was made from what is larger or sharper (Jiang et al.,
ASL/NDEC).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.types import Direction
from copydetect.verification.evidence import Evidence, frame
from copydetect.verification.geometry import apply, inverse
from copydetect.verification.pair_images import PairImage

_WHOLE = 0.93
_PART = 0.85
_EDGE_RATIO = 1.7
_FLAT_STEP = 1.0
_FINER_OCTAVES = 0.4


def direction_of(evidence: Evidence, query: PairImage, reference: PairImage) -> Direction:
    """Who was made from whom, or unknown; a positive score says that the query is the copy."""
    score = 0.0
    in_query, in_reference = evidence["query_overlap"], evidence["reference_overlap"]
    matrix = evidence.alignment.matrix
    if in_query > _WHOLE and in_reference < _PART:
        # The query shows a part of the reference, or was pasted into it.
        score -= pasted(apply(matrix, frame(query)), reference)
    elif in_reference > _WHOLE and in_query < _PART:
        region = apply(inverse(matrix), frame(reference))
        score += pasted(region, query)
    if abs(evidence["blur_px"]) > 0.9:
        score += math.copysign(0.6, evidence["blur_px"])
    undistorted = evidence["perspective"] < 0.05 and evidence["log2_stretch"] < 0.2
    enlargement = _full_scale(evidence, query, reference)
    if undistorted and abs(math.log2(max(enlargement, 1e-6))) > _FINER_OCTAVES:
        score += math.copysign(0.5, enlargement - 1)  # who has more px for the same region
    if abs(score) < 0.4:
        return "unknown"
    return "query_is_copy" if score > 0 else "reference_is_copy"


def pasted(region: npt.NDArray[np.float64], image: PairImage) -> float:
    """1 where the image breaks off at the region's end, so that it was pasted; −1 where it goes on,
    so that the region was cut out; 0 where the border says nothing.

    region: (4, 2) corners in working px. Steps of grey across the border are compared with the
    steps next to it, on either side; a crop's surroundings go on as they were inside.
    """
    grey = cv2.GaussianBlur(image.levels[0], (0, 0), 0.7)
    middle = region.mean(axis=0)
    steps: list[npt.NDArray[np.float32]] = []
    for start, end in zip(region, np.roll(region, -1, axis=0), strict=True):
        along = end - start
        length = float(np.hypot(*along))
        if length < 8:
            continue
        across = np.array([along[1], -along[0]]) / length
        if across @ (start - middle) < 0:
            across = -across
        places = start + np.linspace(0.06, 0.94, int(length))[:, None] * along
        offsets = np.array([-6.0, -2.0, 2.0, 6.0])[:, None, None] * across
        lines = np.asarray(places[None] + offsets, np.float32)
        inside = (lines > 0) & (lines < [image.width_px - 1, image.height_px - 1])
        kept = inside.all(axis=(0, 2))
        if kept.sum() < 8:
            continue
        values = cv2.remap(grey, lines[:, kept, 0], lines[:, kept, 1], cv2.INTER_LINEAR)
        steps.append(np.abs(np.diff(np.asarray(values, np.float32), axis=0)))
    if not steps:
        return 0.0
    within, at_border, outside = np.concatenate(steps, axis=1).mean(axis=1)
    if at_border > _EDGE_RATIO * max(within, outside, 1.0):
        return 1.0
    if outside < _FLAT_STEP:  # a margin; what it surrounds may end in the same colour
        return 1.0 if within > 3 * _FLAT_STEP else 0.0
    return -1.0


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
