"""the alignments of a pair → polygons of what is shared, one in each image for every alignment.

One transform explains most copies; what they share is where both pictures' frames overlap. Parts
that moved, and a picture that holds several parts of the other one, follow a transform each: the
first is the pair's own, the next are found one after the other in the correspondences that those
before leave over (sequential RANSAC, Vincent and Laganière 2001), and count where the decision
takes them for copies by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix, Polygon, area, intersection, inverse, project
from copydetect.verification.correspondences import Correspondences, match_features
from copydetect.verification.decisions import Decision
from copydetect.verification.evidence import Evidence, agreeing_box, measure
from copydetect.verification.geometry import align_regions
from copydetect.verification.pair_images import PairImage

_EXPLAINED = 0.75
"""Share of either picture: where more of it agrees, no other part is looked for."""
_MOST_REGIONS = 12
_SAYS_NOTHING = 0.05
"""Confidence up to which an alignment counts as chance."""
_ONE_PLACE = 0.3
"""Share of the smaller polygon: two that share more are at one place."""


def joint_confidence(best: Evidence, collected: Sequence[Evidence]) -> float:
    """0…1: that at least one of the parts that follow transforms of their own proves a copy.

    best: the surest of `collected`, all that was tried. Each part of a picture whose parts changed
    places leaves the rest unexplained, and none is sure by itself.
    """
    others = [one for one in collected if one is not best and one.confidence > _SAYS_NOTHING]
    doubts = [1 - one.confidence for one in (best, *_at_other_places(best, others))]
    return 1 - math.prod(doubts)


def further_alignments(
    best: Evidence,
    collected: Sequence[Evidence],
    query: PairImage,
    reference: PairImage,
    decision: Decision,
    is_copy: Callable[[float], bool],
    count: int,
) -> list[Evidence]:
    """At most `count` other alignments under which other parts of a copy agree, surest first.

    collected: what was tried for the pair; is_copy: whether a confidence is enough. More is looked
    for only where neither picture is accounted for by `best`.
    """
    others = [one for one in collected if one is not best]
    if max(best["query_covered"], best["reference_covered"]) < _EXPLAINED:
        left = _left_over(best, query, reference)
        measured = (
            measure(alignment, query, reference, 0, 1)
            for alignment in align_regions(left, query, reference, count)
        )
        others += decision.judged([one for one in measured if one])
    sure = [one for one in others if is_copy(one.confidence)]
    return _at_other_places(best, sure)[:count]


def polygons(
    found: Sequence[Evidence], query: PairImage, reference: PairImage
) -> tuple[list[list[float]], list[list[float]]]:
    """Polygons in full-size px of each image, flat x, y lists; the n-th of both belong together.

    A single alignment's is all that both frames share; of several, what agrees under each.
    """
    if len(found) == 1:
        matrix = found[0].alignment.matrix
        return overlapping_frames(matrix, query, reference)
    hulls = [_agreeing_hulls(one) for one in found]
    return (
        [_flat(query.to_full, in_query) for in_query, _ in hulls],
        [_flat(reference.to_full, in_reference) for _, in_reference in hulls],
    )


def overlapping_frames(
    matrix: Matrix, query: PairImage, reference: PairImage
) -> tuple[list[list[float]], list[list[float]]]:
    """The one polygon in each image that lies in both frames; none where they don't overlap."""
    shared = agreeing_box(matrix, query, reference)
    if not len(shared):
        return [], []
    return [_flat(query.to_full, shared)], [_flat(reference.to_full @ matrix, shared)]


def outlined(marked: npt.NDArray[np.uint8], to_full: Matrix) -> list[list[float]]:
    """Polygons around the largest places of a mask, the largest first.

    to_full: px of the mask → full-size px of an image, in which the polygons are.
    """
    outlines, _ = cv2.findContours(marked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = sorted(outlines, key=cv2.contourArea, reverse=True)[:_MOST_REGIONS]
    polygons = []
    for outline in largest:
        x, y, width, height = cv2.boundingRect(outline)
        if len(outline) < 3:
            corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
        else:
            corners = cv2.convexHull(outline).reshape(-1, 2)
        flat: list[float] = project(to_full, corners.astype(np.float64)).ravel().tolist()
        polygons.append(flat)
    return polygons


def _left_over(found: Evidence, query: PairImage, reference: PairImage) -> Correspondences:
    """The correspondences that don't lie inside of what agrees under `found`, in both images."""
    # Those that the search has compared are at hand.
    both = (query.searched_features, reference.searched_features)
    ours, theirs = both if all(map(len, both)) else (query.features, reference.features)
    every = match_features(ours, theirs, found.alignment.mirrored)
    in_query, in_reference = _agreeing_hulls(found)
    explained = _inside(in_query, every.query_px) & _inside(in_reference, every.reference_px)
    return every.where(~explained)


def _at_other_places(first: Evidence, others: Sequence[Evidence]) -> list[Evidence]:
    """Those of `others`, surest first, whose agreeing parts lie apart from all before.

    Apart in one image is enough: a picture may hold the same part of the other one twice.
    """
    kept: list[Evidence] = []
    hulls = [_agreeing_hulls(first)]
    for one in sorted(others, key=lambda evidence: -evidence.confidence):
        own = _agreeing_hulls(one)
        apart = (
            min(_shared(a, b) for a, b in zip(own, known, strict=True)) < _ONE_PLACE
            for known in hulls
        )
        if len(own[0]) > 2 and all(apart):
            kept.append(one)
            hulls.append(own)
    return kept


def _agreeing_hulls(evidence: Evidence) -> tuple[Polygon, Polygon]:
    """Convex hull of the largest patch that agrees, in working px of query and reference."""
    pair = evidence.pair
    number, labels, sizes, _ = cv2.connectedComponentsWithStats(
        evidence.cells.agree.astype(np.uint8)
    )
    if number < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    rows, columns = np.nonzero(labels == 1 + int(np.argmax(sizes[1:, cv2.CC_STAT_AREA])))
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    places = (np.column_stack([columns, rows])[:, None] + corners).reshape(-1, 2) * pair.cell_px
    size = np.array(pair.query.shape[::-1])
    hull = cv2.convexHull(np.minimum(places, size).astype(np.float32)).reshape(-1, 2) - 0.5
    return project(inverse(pair.to_frame), hull), project(inverse(pair.reference_to_frame), hull)


def _flat(matrix: Matrix, polygon: Polygon) -> list[float]:
    mapped: list[float] = project(matrix, polygon).ravel().tolist()
    return mapped


def _inside(polygon: Polygon, points: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    if len(polygon) < 3:
        return np.zeros(len(points), np.bool_)
    outline = np.asarray(polygon, np.float32)
    return np.array(
        [cv2.pointPolygonTest(outline, (float(x), float(y)), False) >= 0 for x, y in points],
        np.bool_,
    )


def _shared(a: Polygon, b: Polygon) -> float:
    """Area that two convex polygons share, as a part of the smaller one's."""
    if len(a) < 3 or len(b) < 3:
        return 0.0
    return area(intersection(a, b)) / max(min(area(a), area(b)), 1e-6)
