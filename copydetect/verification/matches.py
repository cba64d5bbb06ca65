"""a candidate pair → the verdict on it, with its evidence."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from copydetect.description.keypoints import MATCHED, KeypointOptions
from copydetect.errors import OptionError
from copydetect.homographies import Matrix
from copydetect.images.transparency import Opacity, ground_matters
from copydetect.types import Candidate, Keypoints, Match, Pixels, Relation
from copydetect.verification.calibration import are_copies, log_odds
from copydetect.verification.decisions import Decision, explain, load_decision
from copydetect.verification.designs import as_one_design
from copydetect.verification.evidence import Evidence, measure
from copydetect.verification.geometry import some_agree
from copydetect.verification.lineage import direction_of, signs_of
from copydetect.verification.pair_images import PairImage, prepare
from copydetect.verification.probable_edits import probable_edits
from copydetect.verification.proposals import (
    of_features,
    of_frames,
    of_pixels,
    of_search,
    of_searched_features,
    of_stretched,
)
from copydetect.verification.regions import (
    further_alignments,
    joint_confidence,
    overlapping_frames,
    polygons,
)
from copydetect.verification.relations import (
    RelationVerdict,
    differing_regions,
    is_resize,
    lies_on_whole,
    look_closely,
    why,
)

_HOPELESS = 2.5
"""How far below `match_score`, in log-odds, a pair is no longer matched in full. What the pixels
say, where the search's features led, is first added to its score."""
_TOO_FAR_TO_LAY = 2.0
"""How far below it thumbnails are no longer laid over each other: some always fit by chance."""
_UNLIKELY = (_TOO_FAR_TO_LAY + _HOPELESS) / 2
"""How far below it an unlikely pair without a score is: neither hopeless nor worth laying."""
_ALIKE, _VOTED = 0.2, 0.1
"""Similarity or votes of pairs that may be copies, whatever their score: of 1,398 copies found on
two benchmarks 5 have less of both."""
_LIKELY, _DESCRIBED_ALIKE, _MUCH_ALIKE = -4.0, 0.4, 0.5
"""Score and similarity of a pair whose query is stretched as well; similarity, where scores mean
nothing. Descriptors must speak for it: of 29 copies that are found so, none has a similarity below
.45, and votes alone lead to none."""
_SURE_OF_SEARCH = 0.0
"""Score of a pair that is compared at full size though small copies speak against it."""
_UNEXPLAINED = 0.02
"""The query is stretched where no alignment makes the pair this probable."""
TOO_LITTLE = "too little to compare: one of the pictures is tiny, of one colour or one gradient"

Believe = Callable[[float, float], float]
"""(`Match.proof`, `Match.other_content`) → the probability that the pair are copies."""


def as_proved(proof: float, other_content: float) -> float:
    """The proof itself as confidence: no prior and no calibration."""
    return proof


@dataclass(frozen=True)
class MatchOptions:
    """How a pair is verified.

    min_confidence: pairs of at least this probability, 0…1, count as copies; counted: relations
    that count as copies too, whatever the probability; doubt: pairs that are at least this likely
    at small size, or that the search takes for copies, are also compared at full size; decided:
    from this confidence on no further alignment is tried, since the full size settles the rest;
    match_score: candidates whose score, in log-odds, is not far below are matched in full where
    some of the search's features agree and laid over each other; -inf does both in any case;
    scored: whether the collection is large enough for scores to mean something; else similarity and
    votes decide this; working_px: longest side at which pixels are compared; features: that full
    matching compares; max_regions: transforms of one pair, 1 for its best alone; history: whether
    copies get their direction, their probable edits and all of their regions, on which nothing else
    depends; limit_msec: after which a pair is decided by what is known so far.
    """

    min_confidence: float = 0.5
    counted: tuple[Relation, ...] = ()
    doubt: float = 0.02
    decided: float = 0.7
    match_score: float = -6.5
    scored: bool = True
    working_px: int = 448
    features: KeypointOptions = MATCHED
    max_regions: int = 3
    history: bool = True
    limit_msec: int = 2000

    def __post_init__(self) -> None:
        for name in ("min_confidence", "doubt", "decided"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name} is {getattr(self, name)}, must be 0 to 1")
        if not 64 <= self.working_px <= 2048:
            raise OptionError(f"working_px is {self.working_px}, must be 64 to 2048")
        for name in ("max_regions", "limit_msec"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}, must be at least 1")


def prepare_image(
    image_id: str,
    pixels: Pixels,
    options: MatchOptions | None = None,
    full_size_px: tuple[int, int] | None = None,
    keypoints: Keypoints | None = None,
    opacity: Opacity | None = None,
) -> PairImage:
    """An image ready for any number of pairs; see `pair_images.prepare`."""
    options = options or MatchOptions()
    return prepare(
        image_id,
        pixels,
        full_size_px,
        options.working_px,
        options.features,
        keypoints,
        opacity,
    )


def verify_pair(
    query: PairImage,
    reference: PairImage,
    candidate: Candidate,
    correspondences: npt.NDArray[np.float32] | None = None,
    options: MatchOptions | None = None,
    believe: Believe = as_proved,
) -> Match:
    """Decide whether two images are copies of each other.

    correspondences: (n, 4) float32 query x, y, reference x, y of features that the search found to
    agree, as fractions of each image's longer side (rows of `votes.Votes.points`), or None. A pure
    function of its arguments as long as `limit_msec` is not reached. believe: makes the match's
    confidence of its proof and its probability of other content.
    """
    options = options or MatchOptions()
    decision = load_decision()
    if _identical(query, reference):
        return _identical_match(query, reference, candidate)
    if query.has_too_little or reference.has_too_little:
        return replace(_strangers(candidate), confidence=believe(0.0, 0.0), reason=TOO_LITTLE)
    evidence = collect_evidence(
        *(query, reference, correspondences, options, decision),
        short=_falls_short(candidate, options),
        likely=_is_likely(candidate, options),
    )
    best = max(evidence, key=lambda found: found.confidence, default=None)
    if best is None:
        strangers = replace(_strangers(candidate), confidence=believe(0.0, 0.0))
        return as_one_design(strangers, query, reference)
    return _judged(candidate, best, evidence, query, reference, options, believe)


def _judged(
    candidate: Candidate,
    best: Evidence,
    evidence: list[Evidence],
    query: PairImage,
    reference: PairImage,
    options: MatchOptions,
    believe: Believe,
) -> Match:
    """The verdict on a pair that some alignment speaks for; best: the one of highest confidence."""
    proof, other_content = joint_confidence(best, evidence), 0.0
    verdict = None
    doubted = proof >= options.doubt or (options.scored and _promise(candidate) >= _SURE_OF_SEARCH)
    if doubted and query.seen is None and reference.seen is None:
        verdict = look_closely(best, proof, query, reference)
    if verdict is not None:
        proof, other_content = verdict.confidence, verdict.other_content
    confidence = believe(proof, other_content)
    is_copy = bool(are_copies(confidence, other_content, options.min_confidence))
    match = replace(
        _strangers(candidate),
        confidence=confidence,
        proof=proof,
        other_content=other_content,
        is_copy=is_copy,
        transform=_full_size(best.alignment.matrix, query, reference).ravel().tolist(),
        inliers=best.alignment.inliers,
        reason=explain(best, is_copy),
    )
    if is_copy and options.history:
        match = _described(match, best, evidence, verdict, query, reference, options, believe)
    else:
        query_region, reference_region = polygons([best], query, reference)
        match = replace(match, query_region=query_region, reference_region=reference_region)
    match = as_one_design(_related(match, verdict, query, reference), query, reference)
    if match.relation in options.counted and not match.is_copy:
        match = replace(match, is_copy=True)
        if options.history:
            match = _described(match, best, evidence, verdict, query, reference, options, believe)
    return match


def _described(
    match: Match,
    best: Evidence,
    collected: list[Evidence],
    verdict: RelationVerdict | None,
    query: PairImage,
    reference: PairImage,
    options: MatchOptions,
    believe: Believe,
) -> Match:
    """A copy with its regions, direction and probable edits."""
    closer = None if verdict is None else verdict.residual.matrix
    signs = signs_of(best, query, reference, closer)
    further = further_alignments(
        best,
        collected,
        query,
        reference,
        load_decision(),
        lambda proof: believe(proof, 0.0) >= options.min_confidence,
        options.max_regions - 1,
    )
    query_region, reference_region = polygons([best, *further], query, reference)
    return replace(
        match,
        direction=direction_of(signs),
        query_region=query_region,
        reference_region=reference_region,
        edits=probable_edits(best, signs),
    )


def _related(
    match: Match,
    verdict: RelationVerdict | None,
    query: PairImage,
    reference: PairImage,
) -> Match:
    """The same with the relation, and with what differs and why where a closer look told it."""
    if verdict is None:
        return replace(match, relation="edited" if match.is_copy else "none")
    resize = is_resize(np.reshape(match.transform, (3, 3)), query, reference)
    resize = resize or lies_on_whole(verdict.residual, query, reference)
    relation = verdict.relation(match.is_copy, resize)
    differs = relation not in ("same_picture", "none")
    regions = differing_regions(verdict.residual, query.at_full_size()) if differs else []
    said = why(relation, verdict.residual, len(regions))
    reason = f"{said}; {match.reason}" if said and match.is_copy else said or match.reason
    return replace(match, relation=relation, differs_region=regions, reason=reason)


def collect_evidence(
    query: PairImage,
    reference: PairImage,
    correspondences: npt.NDArray[np.float32] | None,
    options: MatchOptions,
    decision: Decision | None,
    short: float = -math.inf,
    likely: bool = True,
) -> list[Evidence]:
    """The evidence for a pair: one `Evidence` for each alignment that was tried.

    First frame on frame, then the search's own correspondences, then the features that it compared,
    then full matching, then direct alignment, then full matching of the stretched query; each only
    while the pair is undecided and in time. Without a decision everything is tried. short: by how
    much, in log-odds, the candidate falls short of being matched in full whatever the search's
    features show; likely: whether the query is stretched where nothing else explains the pair.
    """
    # The time that this thread worked, so that what a pair gets does not depend on other work.
    started = time.thread_time()
    collected: list[Evidence] = []
    for propose in (
        *(of_frames, of_search, of_searched_features),
        *(of_features, of_pixels, of_stretched),
    ):
        # More features cost most by far, and those of the search have been compared by now.
        if propose is of_features and not _promises(collected, query, reference, short):
            continue
        if propose is of_pixels and short > _TOO_FAR_TO_LAY:
            continue
        if propose is of_stretched and not (likely and _is_unexplained(collected)):
            continue
        found = [
            evidence
            for alignment, rival_inliers, regions in propose(
                query, reference, correspondences, options.max_regions
            )
            if (evidence := measure(alignment, query, reference, rival_inliers, regions))
        ]
        collected += found if decision is None else decision.judged(found)
        late = (time.thread_time() - started) * 1000 > options.limit_msec
        if late or any(one.confidence >= options.decided for one in collected):
            break
    return collected


def _promise(candidate: Candidate) -> float:
    """The score by which a pair is looked at: of a crowded one only its pixels tell what it is."""
    return _SURE_OF_SEARCH if candidate.crowded else candidate.score


def _is_likely(candidate: Candidate, options: MatchOptions) -> bool:
    """Whether the search of descriptors speaks for a pair, or there was no search."""
    if math.isnan(candidate.similarity) and math.isnan(candidate.votes):
        return True
    if options.scored:
        return _promise(candidate) >= _LIKELY and candidate.similarity >= _DESCRIBED_ALIKE
    return candidate.similarity >= _MUCH_ALIKE


def _is_unexplained(collected: list[Evidence]) -> bool:
    return all(one.confidence < _UNEXPLAINED for one in collected)


def _falls_short(candidate: Candidate, options: MatchOptions) -> float:
    """By how much, in log-odds, a candidate falls short of being matched in full."""
    if options.scored or options.match_score == -math.inf:
        return options.match_score - _promise(candidate)
    if math.isnan(candidate.similarity) and math.isnan(candidate.votes):
        return -math.inf
    return 0.0 if candidate.similarity >= _ALIKE or candidate.votes >= _VOTED else _UNLIKELY


def _promises(
    collected: list[Evidence], query: PairImage, reference: PairImage, short: float
) -> bool:
    """Whether full matching may find what the search's features have not."""
    shown = float(log_odds([one.confidence for one in collected]).max()) if collected else 0.0
    if short - shown > _HOPELESS:
        return False
    unsearched = query.keypoints is None or reference.keypoints is None
    if collected or short == -math.inf or (unsearched and short <= 0):
        return True
    return some_agree(query.searched_features, reference.searched_features)


def _identical(query: PairImage, reference: PairImage) -> bool:
    """Same pixels, and enough structure that this can't be chance: one colour proves nothing."""
    sizes = [(image.full_width_px, image.full_height_px) for image in (query, reference)]
    same = sizes[0] == sizes[1] and query.pixels.size >= 3 * 256
    if not (same and _same_pixels(query, reference) and float(query.pixels.std()) > 2):
        return False
    return _same_opacity(query.opacity, reference.opacity) and _same_pixels(
        query.at_full_size(), reference.at_full_size()
    )


def _same_pixels(query: PairImage, reference: PairImage) -> bool:
    return bool(np.array_equal(query.pixels, reference.pixels))


def _same_opacity(query: Opacity | None, reference: Opacity | None) -> bool:
    if query is None or reference is None:
        return not ground_matters(query) and not ground_matters(reference)
    return bool(np.array_equal(query, reference))


def _identical_match(query: PairImage, reference: PairImage, candidate: Candidate) -> Match:
    query_region, reference_region = overlapping_frames(np.eye(3), query, reference)
    return replace(
        _strangers(candidate),
        confidence=1.0,
        proof=1.0,
        is_copy=True,
        relation="identical",
        transform=_full_size(np.eye(3), query, reference).ravel().tolist(),
        query_region=query_region,
        reference_region=reference_region,
        reason="every pixel is the same",
    )


def _strangers(candidate: Candidate) -> Match:
    match = Match.of_strangers(
        candidate.query_id,
        candidate.reference_id,
        candidate.similarity,
        candidate.score,
        explain(None, False),
    )
    return replace(match, proof=0.0, other_content=0.0)


def _full_size(matrix: Matrix, query: PairImage, reference: PairImage) -> Matrix:
    """A transform between working px → between full-size px, its last number 1."""
    full = reference.to_full @ matrix @ np.linalg.inv(query.to_full)
    return np.asarray(full / full[2, 2], np.float64)
