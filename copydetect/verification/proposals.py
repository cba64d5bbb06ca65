"""two images → alignments that are worth measuring, from what is known to what costs most."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.verification.agreement import compare, overlap, refine
from copydetect.verification.direct import align_directly
from copydetect.verification.geometry import (
    Alignment,
    Matrix,
    align_regions,
    apply,
    fit_similarity,
    is_plausible,
    match_features,
)
from copydetect.verification.pair_images import PairImage

SearchPoints = npt.NDArray[np.float32] | None
"""(n, 4) query x, y, reference x, y in fractions of each image's longer side, if searched for."""

_AGREES_SOMEWHAT = 0.2
"""Mean correlation of the cells of small copies from which on a closer look is worth its cost."""

Proposal = tuple[Alignment, int, int]
"""An alignment, the inliers of the best one in the other orientation, and how many full matching
or direct alignment found; 0 for the search's own."""


def of_search(
    query: PairImage, reference: PairImage, correspondences: SearchPoints, max_regions: int
) -> list[Proposal]:
    """The alignment of the search's own correspondences."""
    if correspondences is None or len(correspondences) < 4:
        return []
    given = _alignment_of_points(correspondences, query, reference)
    return [(given, 0, 0)] if given else []


def few_agree(query: PairImage, reference: PairImage, correspondences: SearchPoints) -> bool:
    """Whether two or three correspondences, too few to prove anything, lead to pixels that agree.

    False where there are fewer, or more: `of_search` tells of those.
    """
    if correspondences is None or len(correspondences) not in (2, 3):
        return False
    source, target = _working_px(correspondences, query, reference)
    found = (fit_similarity(source, target, mirrored) for mirrored in (False, True))
    return any(
        matrix is not None
        and is_plausible(matrix, query)
        and _agrees_somewhat(matrix, query, reference)
        for matrix in found
    )


def of_features(
    query: PairImage, reference: PairImage, correspondences: SearchPoints, max_regions: int
) -> list[Proposal]:
    """Alignments of all features of both images, in both orientations."""
    both = [
        align_regions(
            match_features(query.features, reference.features, mirrored),
            query,
            reference,
            max_regions,
        )
        for mirrored in (False, True)
    ]
    return _with_rivals(*both) + _with_rivals(*reversed(both))


def of_pixels(
    query: PairImage, reference: PairImage, correspondences: SearchPoints, max_regions: int
) -> list[Proposal]:
    """Alignments without features, of thumbnails."""
    direct = align_directly(query, reference)
    nowhere = np.zeros((0, 2), np.float32)
    return [
        (Alignment(found.matrix, "direct", found.mirrored, 0, 0, 0.0, nowhere), 0, len(direct))
        for found in direct
    ]


def _with_rivals(alignments: list[Alignment], rivals: list[Alignment]) -> list[Proposal]:
    """The alignments of one orientation; those that are far behind the other's are chance."""
    most = max((rival.inliers for rival in rivals), default=0)
    return [(one, most, len(alignments)) for one in alignments if 2 * one.inliers >= most]


def _alignment_of_points(
    correspondences: npt.NDArray[np.float32], query: PairImage, reference: PairImage
) -> Alignment | None:
    """The affine transform of the search's correspondences, by MAGSAC++."""
    source, target = _working_px(correspondences, query, reference)
    found, inside = cv2.estimateAffine2D(source, target, None, cv2.USAC_MAGSAC, 4.0, 500, 0.99)
    if found is None or inside is None or int(inside.sum()) < 4:
        return None
    matrix = np.vstack([found, [0, 0, 1]])
    if not is_plausible(matrix, query):
        return None
    kept = inside.ravel().astype(bool)
    error = np.linalg.norm(apply(matrix, source[kept]) - target[kept], axis=1)
    return Alignment(
        matrix=matrix,
        model="affine",
        mirrored=bool(np.linalg.det(matrix[:2, :2]) < 0),
        inliers=int(kept.sum()),
        matches=len(source),
        error_px=float(np.sqrt(np.mean(error**2))),
        inlier_query_px=source[kept],
    )


def _agrees_somewhat(matrix: Matrix, query: PairImage, reference: PairImage) -> bool:
    """Whether small copies agree at all, while the transform is refined."""
    for frame_px in (96, 192, 192):
        pair = overlap(matrix, query, reference, frame_px)
        if pair is None:
            return False
        cells = compare(pair)
        if cells.mean_correlation > _AGREES_SOMEWHAT:
            return True
        matrix = refine(matrix, query, reference, cells, pair)
    return False


def _working_px(
    correspondences: npt.NDArray[np.float32], query: PairImage, reference: PairImage
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(n, 2) places in the query and in the reference."""
    longest = [max(image.width_px, image.height_px) for image in (query, reference)]
    points = np.asarray(correspondences * np.repeat(longest, 2) - 0.5, np.float32)
    return np.ascontiguousarray(points[:, :2]), np.ascontiguousarray(points[:, 2:])
