"""A candidate pair of images, animated or transparent ones too → the verdict on it.

Two animations are copies where the moments of one of them are found in the other: all, or more
than half of those that look different. A title card or a black frame that two clips share is one
moment of each. An animation and a picture that shows any of its moments are copies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix
from copydetect.images.decoding import DecodedImage
from copydetect.images.stills import Still
from copydetect.images.transparency import ground_matters
from copydetect.types import Candidate, Direction, Keypoints, Match, Relation
from copydetect.verification.agreement import overlap
from copydetect.verification.matches import (
    Believe,
    MatchOptions,
    as_proved,
    prepare_image,
    verify_pair,
)
from copydetect.verification.pair_images import Floats, PairImage
from copydetect.verification.proposals import SearchPoints, of_search, of_searched_features
from copydetect.verification.transparent_pairs import (
    Verify,
    on_other_grounds,
    verify_on_grounds,
    verify_relaid,
)

_SKETCH_PX = 64
_FLAT_STD = 3.0
_MOST_TRIED, _ALIKE = 4, 0.5
_NEARLY_ALIKE = 0.8
_SAME_MOMENT = 0.9
_AS_SURE = 0.05
_SHARED = 0.5
_ALL = 0.99
_SAME_DURATION = 1.15
_BACKWARDS = -0.5


def prepare_decoded(
    image_id: str,
    decoded: DecodedImage,
    options: MatchOptions | None = None,
    keypoints: Keypoints | None = None,
) -> PairImage:
    """A decoded image, with its opacity and its moments, ready for any number of pairs."""
    size = (decoded.width_px, decoded.height_px)
    stills = [Still(decoded.pixels, decoded.opacity), *decoded.moments.later]
    first, *later = (
        prepare_image(image_id, still.pixels, options, size, keypoints, still.opacity)
        for still in stills
    )
    return replace(
        first,
        later=tuple(later),
        duration_msec=decoded.moments.duration_msec,
        luma_table=decoded.luma_table,
    )


def verify_images(
    query: PairImage,
    reference: PairImage,
    candidate: Candidate,
    correspondences: npt.NDArray[np.float32] | None = None,
    options: MatchOptions | None = None,
    believe: Believe = as_proved,
) -> Match:
    """As `matches.verify_pair`, of images that may be transparent or animated."""
    options = options or MatchOptions()

    def verify_stills(one: PairImage, other: PairImage) -> Match:
        return verify_pair(one, other, candidate, correspondences, options, believe)

    def verify_closely(one: PairImage, other: PairImage) -> Match:
        # The candidate's score is of what the images show first, and says little of these two.
        alike = _alikeness([one], [other], _edge_on_edge(one, other))[0, 0] > _NEARLY_ALIKE
        wanted = replace(options, match_score=-math.inf) if alike else options
        return verify_pair(one, other, candidate, correspondences, wanted, believe)

    def verify(one: PairImage, other: PairImage) -> Match:
        if ground_matters(one.opacity) or ground_matters(other.opacity):
            return verify_on_grounds(one, other, verify_closely)
        match = verify_closely(one, other) if moving else verify_stills(one, other)
        if match.is_copy or not on_other_grounds(one, other):
            return match
        placements = _placements(one, other, correspondences, options)
        return verify_relaid(one, other, placements, match, verify_closely)

    moving = bool(query.later or reference.later)
    if moving:
        clips = _Clips.of(query, reference, correspondences, options)
        return clips.verdict(verify, options) if clips.nearest else verify(query, reference)
    return verify(query, reference)


@dataclass(frozen=True, eq=False)
class _Clips:
    """The moments of two images, one of which may stand still.

    query, reference: their moments in the order of time; telling: numbers of those of each that are
    different pictures; nearest: (query moment, reference moment) of those worth a look, the most
    alike first.
    """

    query: Sequence[PairImage]
    reference: Sequence[PairImage]
    telling: tuple[list[int], list[int]]
    nearest: list[tuple[int, int]]

    @classmethod
    def of(
        cls,
        query: PairImage,
        reference: PairImage,
        correspondences: SearchPoints,
        options: MatchOptions,
    ) -> _Clips:
        clips = [(image, *image.later) for image in (query, reference)]
        alike = np.max(
            [
                _alikeness(clips[0], clips[1], matrix)
                for matrix in _placements(query, reference, correspondences, options)
            ],
            axis=0,
        )
        pairs = sorted(
            ((i, j) for i in range(len(clips[0])) for j in range(len(clips[1]))),
            key=lambda pair: (-alike[pair], pair),
        )
        plain = [{n for n, still in enumerate(clip) if _is_plain(still)} for clip in clips]
        pairs = [(i, j) for i, j in pairs if i not in plain[0] and j not in plain[1]]
        if min(map(len, clips)) > 1:
            pairs = _apart(pairs)
        hopeful = sum(float(alike[pair]) > _ALIKE for pair in pairs)
        telling = (query.telling, reference.telling)
        return cls(clips[0], clips[1], telling, pairs[: max(1, min(hopeful, _MOST_TRIED))])

    def verdict(self, verify: Verify, options: MatchOptions) -> Match:
        """Of the moments that are most alike, the first that are copies decide."""
        best: Match | None = None
        for i, j in self.nearest:
            match = verify(self.query[i], self.reference[j])
            if match.is_copy:
                return self._judged(match, (i, j), options)
            if best is None or match.confidence > best.confidence:
                best = match
        return best or verify(self.query[0], self.reference[0])

    def _judged(self, match: Match, at: tuple[int, int], options: MatchOptions) -> Match:
        """What copies of one moment mean for the whole."""
        if len(self.query) == 1 or len(self.reference) == 1:
            return self._of_a_still(match)
        to_working = np.linalg.inv(self.reference[0].to_full)
        matrix = to_working @ np.reshape(match.transform, (3, 3)) @ self.query[0].to_full
        alike = _alikeness(self.query, self.reference, np.asarray(matrix, np.float64))
        same = alike >= min(_SAME_MOMENT, float(alike[at]) - _AS_SURE)
        shares = [float(same.max(axis=1 - side)[self.telling[side]].mean()) for side in (0, 1)]
        if max(shares) <= _SHARED:
            counts = [len(numbers) for numbers in self.telling]
            most = options.min_confidence / 2
            return replace(
                match,
                is_copy="changed_content" in options.counted,
                relation="changed_content",
                confidence=min(match.confidence, most),
                proof=min(match.proof or 0.0, most),
                direction="unknown",
                edits=[],
                reason=f"two animations with a moment in common: of {counts[0]} and {counts[1]} "
                f"that look different {max(shares):.0%} are shared",
            )
        edits = self._edits(shares, alike)
        if match.relation == "identical" and not self._is_identical():
            reason = "moments of both animations are the same"
            match = replace(match, relation="same_picture", reason=reason)
        relation: Relation = "edited" if edits else match.relation
        return replace(match, relation=relation, edits=[*edits, *match.edits])

    def _of_a_still(self, match: Match) -> Match:
        copied: Direction = "query_is_copy" if len(self.query) == 1 else "reference_is_copy"
        return replace(
            match,
            relation="edited",
            direction=copied,
            edits=["one moment of an animation", *match.edits],
            reason=f"a moment of the animation: {match.reason}",
        )

    def _is_identical(self) -> bool:
        return len(self.query) == len(self.reference) and all(
            np.array_equal(one.pixels, other.pixels)
            for one, other in zip(self.query, self.reference, strict=True)
        )

    def _edits(self, shares: list[float], alike: npt.NDArray[np.float64]) -> list[str]:
        edits = []
        durations = [clip[0].duration_msec or 0 for clip in (self.query, self.reference)]
        longer, shorter = max(durations), min(durations)
        if min(shares) < _ALL or len(self.query) != len(self.reference):
            edits.append("other moments added or cut")
        elif shorter and longer > _SAME_DURATION * shorter:
            edits.append("another speed or duration")
        if len(self.query) > 2 and len(self.reference) > 2:
            order = alike.argmax(axis=1)
            moves = float(order.std()) > 0
            if moves and np.corrcoef(np.arange(len(order)), order)[0, 1] < _BACKWARDS:
                edits.append("played backwards")
        return edits


def _placements(
    query: PairImage, reference: PairImage, correspondences: SearchPoints, options: MatchOptions
) -> list[Matrix]:
    """Where the one may lie in the other: as the search's features say, and edge on edge."""
    found = [
        alignment.matrix
        for propose in (of_search, of_searched_features)
        for alignment, _, _ in propose(query, reference, correspondences, options.max_regions)[:1]
    ]
    return [_edge_on_edge(query, reference), *found]


def _edge_on_edge(query: PairImage, reference: PairImage) -> Matrix:
    """The whole of the one stretched over the whole of the other."""
    across, down = reference.width_px / query.width_px, reference.height_px / query.height_px
    return np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5], [0, 0, 1]])


def _alikeness(
    query: Sequence[PairImage], reference: Sequence[PairImage], matrix: Matrix
) -> npt.NDArray[np.float64]:
    """(moments of the query, of the reference): correlation of grey levels, −1…1.

    All moments of an image lie in one place, so each is warped once.
    """
    sketches: tuple[list[Floats], list[Floats]] = ([], [])
    for number in range(max(len(query), len(reference))):
        one, other = query[min(number, len(query) - 1)], reference[min(number, len(reference) - 1)]
        pair = overlap(matrix, one, other, _SKETCH_PX)
        if pair is None:
            return np.full((len(query), len(reference)), -1.0)
        inside = pair.inside > 0
        sketches[0].append(_unit(pair.query[inside]))
        sketches[1].append(_unit(pair.reference[inside]))
    ours, theirs = np.stack(sketches[0][: len(query)]), np.stack(sketches[1][: len(reference)])
    return np.asarray(ours @ theirs.T, np.float64)


def _unit(levels: Floats) -> Floats:
    """Levels with mean 0 and length 1; 0 where they are all one."""
    centred = levels - levels.mean() if len(levels) else levels
    length = float(np.linalg.norm(centred))
    return centred / np.float32(length) if length > 0 else centred


def _apart(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Of the pairs in their order, those whose moments are in none before."""
    apart = []
    used: tuple[set[int], set[int]] = (set(), set())
    for i, j in pairs:
        if i not in used[0] and j not in used[1]:
            apart.append((i, j))
            used[0].add(i)
            used[1].add(j)
    return apart


def _is_plain(still: PairImage) -> bool:
    return float(still.levels[-1].std()) < _FLAT_STD
