"""two images → alignments worth measuring, the cheapest to find first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.description.keypoints import FEW_FEATURES
from copydetect.homographies import Matrix, inverse, project
from copydetect.images.resizing import resized
from copydetect.verification.correspondences import match_features
from copydetect.verification.counting import share_of
from copydetect.verification.direct import align_directly
from copydetect.verification.geometry import Alignment, align_regions, is_plausible
from copydetect.verification.pair_images import LocalFeatures, PairImage, resizing

SearchPoints = npt.NDArray[np.float32] | None
"""(n, 4) query x, y, reference x, y in fractions of each image's longer side, if searched for."""

_STRETCH = 3.0
_ALIKE_LEVELS, _ALIKE = 16.0, 0.9
"""By how many grey levels, and in which share of their places, sketches of copies agree."""

Proposal = tuple[Alignment, int, int]
"""An alignment, the inliers of the best one in the other orientation, and how many full matching
or direct alignment found; 0 for the search's own."""


def of_frames(
    query: PairImage, reference: PairImage, correspondences: SearchPoints, max_regions: int
) -> list[Proposal]:
    """The frame of one picture on that of the other, where little is in them and sketches agree.

    A small icon has too few features to be aligned by, or by which to be aligned exactly.
    """
    alike = np.abs(query.sketch - reference.sketch).max(axis=2) < _ALIKE_LEVELS
    if share_of(alike) < _ALIKE or not any(map(_has_few_features, (query, reference))):
        return []
    sizes = reference.width_px / query.width_px, reference.height_px / query.height_px
    return [(_direct(resizing(*sizes), False), 0, 1)]


def of_search(
    query: PairImage, reference: PairImage, correspondences: SearchPoints, max_regions: int
) -> list[Proposal]:
    """The alignment of the search's own correspondences."""
    if correspondences is None or len(correspondences) < 4:
        return []
    given = _alignment_of_points(correspondences, query, reference)
    return [(given, 0, 0)] if given else []


def of_searched_features(
    query: PairImage, reference: PairImage, correspondences: SearchPoints, max_regions: int
) -> list[Proposal]:
    """Alignments of the features that the search has compared with all, now with each other.

    It tells of each feature the nearest few of the collection, and a pair may not be among them.
    """
    return _in_both_orientations(
        query, reference, query.searched_features, reference.searched_features, max_regions
    )


def of_features(
    query: PairImage, reference: PairImage, correspondences: SearchPoints, max_regions: int
) -> list[Proposal]:
    """Alignments of all features of both images, in both orientations."""
    return _in_both_orientations(query, reference, query.features, reference.features, max_regions)


def of_pixels(
    query: PairImage, reference: PairImage, correspondences: SearchPoints, max_regions: int
) -> list[Proposal]:
    """Alignments without features, of thumbnails."""
    direct = align_directly(query, reference)
    return [(_direct(found.matrix, found.mirrored), 0, len(direct)) for found in direct]


def _has_few_features(image: PairImage) -> bool:
    known = image.features if image.keypoints is None else image.searched_features
    return len(known) < FEW_FEATURES


def _direct(matrix: Matrix, mirrored: bool) -> Alignment:
    nowhere = np.zeros((0, 2), np.float32)
    return Alignment(matrix, "direct", mirrored, 0, 0, 0.0, nowhere)


def of_stretched(
    query: PairImage, reference: PairImage, correspondences: SearchPoints, max_regions: int
) -> Iterator[Proposal]:
    """Alignments of all features, those of the query as it is when stretched along either axis.

    SIFT bears no more than about one and a half times the scale along one axis. Stretched threefold
    (at the same area), features of what was stretched two to four and a half times are found.
    """
    for across in (_STRETCH**0.5, _STRETCH**-0.5):
        made = query.rendering(("stretched", across), partial(_stretched, query, across))
        there = inverse(made.to_full) @ query.to_full
        for one, rival, regions in _in_both_orientations(
            made, reference, made.features, reference.features, max_regions
        ):
            matrix = np.asarray(one.matrix @ there, np.float64)
            if is_plausible(matrix, query, reference):
                inliers = project(inverse(there), one.inlier_query_px).astype(np.float32)
                yield replace(one, matrix=matrix, inlier_query_px=inliers), rival, regions


def _stretched(image: PairImage, across: float) -> PairImage:
    """The image wider by a factor and flatter by the same."""
    size = round(image.width_px * across), round(image.height_px / across)
    pixels = resized(image.pixels, max(size[0], 1), max(size[1], 1))
    return replace(image, pixels=pixels, keypoints=None, opacity=None, later=(), reopen=None)


def _in_both_orientations(
    query: PairImage,
    reference: PairImage,
    ours: LocalFeatures,
    theirs: LocalFeatures,
    max_regions: int,
) -> list[Proposal]:
    both = [
        align_regions(match_features(ours, theirs, mirrored), query, reference, max_regions)
        for mirrored in (False, True)
    ]
    return _with_rivals(*both) + _with_rivals(*reversed(both))


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
    if not is_plausible(matrix, query, reference):
        return None
    kept = inside.ravel().astype(bool)
    error = np.linalg.norm(project(matrix, source[kept]) - target[kept], axis=1)
    return Alignment(
        matrix=matrix,
        model="affine",
        mirrored=bool(np.linalg.det(matrix[:2, :2]) < 0),
        inliers=int(kept.sum()),
        matches=len(source),
        error_px=float(np.sqrt(np.mean(error**2))),
        inlier_query_px=source[kept],
    )


def _working_px(
    correspondences: npt.NDArray[np.float32], query: PairImage, reference: PairImage
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(n, 2) places in the query and in the reference."""
    longest = [max(image.width_px, image.height_px) for image in (query, reference)]
    points = np.asarray(correspondences * np.repeat(longest, 2) - 0.5, np.float32)
    return np.ascontiguousarray(points[:, :2]), np.ascontiguousarray(points[:, 2:])
