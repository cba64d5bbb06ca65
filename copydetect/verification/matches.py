"""a candidate pair → the verdict on it, with its evidence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.errors import OptionError
from copydetect.types import Candidate, Match, Pixels
from copydetect.verification.decisions import Decision, explain, load_decision
from copydetect.verification.direct import align_directly
from copydetect.verification.evidence import Evidence, measure
from copydetect.verification.geometry import (
    Alignment,
    Matrix,
    align_regions,
    apply,
    is_plausible,
    match_features,
)
from copydetect.verification.lineage import direction_of, signs_of
from copydetect.verification.pair_images import PairImage, prepare
from copydetect.verification.probable_edits import probable_edits
from copydetect.verification.regions import further_alignments, overlapping_frames, polygons


@dataclass(frozen=True)
class MatchOptions:
    """How a pair is verified.

    min_confidence: from which probability on a pair counts as copies, 0…1; decided: correspondences
    of the search are proof enough from this confidence on, and full matching is skipped;
    working_px: longest side at which pixels are compared; feature_px: and at which features are
    sought; max_features: of an image; max_regions: transforms of one pair, 1 for its best alone;
    limit_msec: after which a pair is decided by what is known so far.
    """

    min_confidence: float = 0.5
    decided: float = 0.9
    working_px: int = 448
    feature_px: int = 288
    max_features: int = 400
    max_regions: int = 3
    limit_msec: int = 2000

    def __post_init__(self) -> None:
        for name in ("min_confidence", "decided"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name} is {getattr(self, name)}, must be 0 to 1")
        for name in ("working_px", "feature_px"):
            if not 64 <= getattr(self, name) <= 2048:
                raise OptionError(f"{name} is {getattr(self, name)}, must be 64 to 2048")
        for name in ("max_features", "max_regions", "limit_msec"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}, must be at least 1")

    def __str__(self) -> str:
        return (
            f"{self.working_px}px-sift{self.feature_px}px{self.max_features}"
            f"r{self.max_regions}p{self.min_confidence:g}"
        )


def prepare_image(
    image_id: str,
    pixels: Pixels,
    options: MatchOptions | None = None,
    full_size_px: tuple[int, int] | None = None,
) -> PairImage:
    """An image ready for any number of pairs; see `pair_images.prepare`."""
    options = options or MatchOptions()
    return prepare(
        image_id,
        pixels,
        full_size_px,
        options.working_px,
        options.feature_px,
        options.max_features,
    )


_Proposal = tuple[Alignment, int, int]
"""An alignment, the inliers of the best one in the other orientation, and how many full matching
or direct alignment found; 0 for the search's own."""


def verify_pair(
    query: PairImage,
    reference: PairImage,
    candidate: Candidate,
    correspondences: npt.NDArray[np.float32] | None = None,
    options: MatchOptions | None = None,
) -> Match:
    """Decide whether two images are copies of each other.

    correspondences: (n, 4) float32 query x, y, reference x, y of features that the search found to
    agree, as fractions of each image's longer side (rows of `votes.Votes.points`), or None. A pure
    function of its arguments as long as `limit_msec` is not reached.
    """
    options = options or MatchOptions()
    decision = load_decision()
    if _identical(query, reference):
        return _identical_match(query, reference, candidate)
    evidence = collect_evidence(query, reference, correspondences, options, decision)
    best = max(evidence, key=lambda found: found.confidence, default=None)
    if best is None:
        return _no_match(candidate)
    confidence = best.confidence
    is_copy = confidence >= options.min_confidence
    signs = signs_of(best, query, reference) if is_copy else None
    regions = [best]
    if is_copy:
        regions += further_alignments(
            best,
            evidence,
            query,
            reference,
            decision,
            options.min_confidence,
            options.max_regions - 1,
        )
    query_region, reference_region = polygons(regions, query, reference)
    return Match(
        query_id=candidate.query_id,
        reference_id=candidate.reference_id,
        similarity=candidate.similarity,
        score=candidate.score,
        confidence=confidence,
        is_copy=is_copy,
        direction=direction_of(signs) if signs else "unknown",
        transform=_full_size(best.alignment.matrix, query, reference).ravel().tolist(),
        inliers=best.alignment.inliers,
        query_region=query_region,
        reference_region=reference_region,
        edits=probable_edits(best, signs) if signs else [],
        reason=explain(best, is_copy),
    )


def collect_evidence(
    query: PairImage,
    reference: PairImage,
    correspondences: npt.NDArray[np.float32] | None,
    options: MatchOptions,
    decision: Decision | None,
) -> list[Evidence]:
    """What speaks for the pair: one `Evidence` for each alignment that was tried.

    First the search's own correspondences, then full matching in both orientations, then direct
    alignment; each only while the pair is undecided and in time. Without a decision everything is
    tried.
    """
    # The time that this thread worked, so that what a pair gets does not depend on other work.
    started = time.thread_time()
    collected: list[Evidence] = []
    for proposals in _proposals(query, reference, correspondences, options):
        found = [
            evidence
            for alignment, rival_inliers, regions in proposals
            if (evidence := measure(alignment, query, reference, rival_inliers, regions))
        ]
        collected += found if decision is None else decision.judged(found)
        late = (time.thread_time() - started) * 1000 > options.limit_msec
        if late or any(one.confidence >= options.decided for one in collected):
            break
    return collected


def _proposals(
    query: PairImage,
    reference: PairImage,
    correspondences: npt.NDArray[np.float32] | None,
    options: MatchOptions,
) -> Iterator[list[_Proposal]]:
    """Alignments from what is known to what costs most."""
    if correspondences is not None and len(correspondences) >= 4:
        given = _alignment_of_points(correspondences, query, reference)
        yield [(given, 0, 0)] if given else []
    both = [
        align_regions(
            match_features(query.features, reference.features, mirrored),
            query,
            reference,
            options.max_regions,
        )
        for mirrored in (False, True)
    ]
    yield _with_rivals(*both) + _with_rivals(*reversed(both))
    direct = align_directly(query, reference)
    nowhere = np.zeros((0, 2), np.float32)
    yield [
        (Alignment(found.matrix, "direct", found.mirrored, 0, 0, 0.0, nowhere), 0, len(direct))
        for found in direct
    ]


def _with_rivals(alignments: list[Alignment], rivals: list[Alignment]) -> list[_Proposal]:
    """The alignments of one orientation; those that are far behind the other's are chance."""
    most = max((rival.inliers for rival in rivals), default=0)
    return [(one, most, len(alignments)) for one in alignments if 2 * one.inliers >= most]


def _alignment_of_points(
    correspondences: npt.NDArray[np.float32], query: PairImage, reference: PairImage
) -> Alignment | None:
    """The affine transform of the search's correspondences, by MAGSAC++."""
    longest = [max(image.width_px, image.height_px) for image in (query, reference)]
    sizes = np.repeat(longest, 2)
    points = np.asarray(correspondences * sizes - 0.5, np.float32)
    source, target = np.ascontiguousarray(points[:, :2]), np.ascontiguousarray(points[:, 2:])
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


def _identical(query: PairImage, reference: PairImage) -> bool:
    """Same pixels, and enough structure that this can't be chance: one colour proves nothing."""
    same = query.pixels.shape == reference.pixels.shape and query.pixels.size >= 3 * 256
    return (
        same
        and float(query.pixels.std()) > 2
        and bool(np.array_equal(query.pixels, reference.pixels))
    )


def _identical_match(query: PairImage, reference: PairImage, candidate: Candidate) -> Match:
    query_region, reference_region = overlapping_frames(np.eye(3), query, reference)
    return Match(
        query_id=candidate.query_id,
        reference_id=candidate.reference_id,
        similarity=candidate.similarity,
        score=candidate.score,
        confidence=1.0,
        is_copy=True,
        direction="unknown",
        transform=_full_size(np.eye(3), query, reference).ravel().tolist(),
        inliers=0,
        query_region=query_region,
        reference_region=reference_region,
        edits=[],
        reason="every pixel is the same",
    )


def _no_match(candidate: Candidate) -> Match:
    return Match(
        query_id=candidate.query_id,
        reference_id=candidate.reference_id,
        similarity=candidate.similarity,
        score=candidate.score,
        confidence=0.0,
        is_copy=False,
        direction="unknown",
        transform=[],
        inliers=0,
        query_region=[],
        reference_region=[],
        edits=[],
        reason=explain(None, False),
    )


def _full_size(matrix: Matrix, query: PairImage, reference: PairImage) -> Matrix:
    """A transform between working px → between full-size px, its last number 1."""
    full = reference.to_full @ matrix @ np.linalg.inv(query.to_full)
    return np.asarray(full / full[2, 2], np.float64)
