"""What both channels found → candidate pairs, scored together and ranked.

    similarities, votes → evidence − density → surplus in units of its spread → one score → the best

Either channel alone misses what the other finds: descriptors fail where a copy is a small part of
a picture, local features where it is blurred or flat. The sum of both is near to the logarithm of
the odds that the pair are copies.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from copydetect.candidates.densities import Densities
from copydetect.candidates.ranks import ranks_of, ranks_of_either
from copydetect.errors import OptionError
from copydetect.sorted_rows import begins_run
from copydetect.types import Bools, Floats, Ints

Integers32 = npt.NDArray[np.int32]

_EVEN_ODDS = 0.0


@dataclass(frozen=True)
class CandidateOptions:
    """Which candidates are kept: the best `k` of each query, and all from `min_score` up.

    family: of each image, up to this many pairs are kept that have even odds or better, or are
    crowded. So a family of ordinary size keeps all of its pairs. connect_similarity: in a
    collection searched for itself, an image that has more than k others from this similarity up
    also keeps the first of them. Otherwise a crowd whose members are each nearest to a few of their
    own kind would be torn apart. least_score: where set, pairs below it may be missing, which saves
    most of the work.
    """

    k: int = 10
    min_score: float = float("inf")
    family: int = 24
    connect_similarity: float = float("inf")
    least_score: float = float("-inf")

    def __post_init__(self) -> None:
        if self.k < 1:
            raise OptionError(f"k must be at least 1, not {self.k}")
        if self.family < 0:
            raise OptionError(f"family must be at least 0, not {self.family}")
        if np.isnan(self.min_score):
            raise OptionError("min_score must be a number")

    def __str__(self) -> str:
        limits = f"k={self.k},family={self.family},min_score={self.min_score:g}"
        return f"{limits},connect={self.connect_similarity:g}"

    def keeps(self, ranks: Ints, scores: Floats, crowded: Bools | None = None) -> Bools:
        """(n,) bool: which pairs are kept, by their rank among those of an image, or by score.

        crowded: (n,) bool, pairs whose score cannot tell: of a crowd (see `types.Candidate`), or of
        pictures with little content.
        """
        likely = scores >= _EVEN_ODDS
        likely = (ranks <= self.family) & (likely if crowded is None else likely | crowded)
        return np.asarray((ranks <= self.k) | likely | (scores >= self.min_score), np.bool_)


@dataclass(frozen=True)
class Fusion:
    """score = intercept + descriptor · surplus(descriptor_score) + local · surplus(local_score).

    surplus(x) = log(1 + exp(x / spread)): how many times rarer such a stranger is, in powers of e.
    Below the density it is next to 0. There a channel only says that it sees no copy, and a pair
    that the other channel proposes must not suffer from that.

    The weights come from a logistic regression on edited pictures that were searched among others,
    so that a score is the logarithm of odds (`copydetect.training.fusion`). Dividing by the spread
    makes them hold in other collections and for other descriptors.
    """

    intercept: float = -7.78
    descriptor: float = 0.63
    local: float = 0.53

    def scores(self, surpluses: tuple[Floats | None, Floats | None]) -> Floats:
        """(n,) float32 scores of surpluses of both channels; None for a channel that is off."""
        score = np.float32(self.intercept)
        for weight, surplus in zip((self.descriptor, self.local), surpluses, strict=True):
            if surplus is not None:
                score = score + np.float32(weight) * surplus
        return np.asarray(score, np.float32)


FUSION = Fusion()


@dataclass(frozen=True)
class DescriptorPairs:
    """Neighbours of the descriptor channel, in any order; row i of each field belongs together.

    query, reference: (n,) int64 image_no; similarity: (n,) float32 cosine; score: (n,) float32,
    similarity times the weights of both. A pair may appear once for each combination of views, and
    in dedup once from each side.
    """

    query: Ints
    reference: Ints
    similarity: Floats
    score: Floats


@dataclass(frozen=True)
class LocalPairs:
    """Neighbours of the local channel: (n,) int64 image_no twice, (n,) float32 votes over 0."""

    query: Ints
    reference: Ints
    votes: Floats


@dataclass(frozen=True)
class CandidatePairs:
    """Candidates, by query, best first, then by reference; NaN where a channel is silent.

    Columns as in the candidates table, but for image_no instead of ids. descriptor_row, local_row:
    (n,) int64, the row of the channel's input that proposed the pair, −1 where it did not.
    """

    query: Ints
    reference: Ints
    similarity: Floats
    descriptor_score: Floats
    votes: Floats
    local_score: Floats
    score: Floats
    rank: Integers32
    descriptor_row: Ints
    local_row: Ints


def merge_pairs(
    descriptor: DescriptorPairs | None,
    local: LocalPairs | None,
    densities: tuple[Densities | None, Densities | None],
    options: CandidateOptions,
    fusion: Fusion = FUSION,
    *,
    symmetric: bool,
) -> CandidatePairs:
    """Candidates: the best pairs of each query.

    densities: in the descriptor and in the local channel, of the queries; None, as its pairs, for a
    channel that is off. symmetric: whether a collection is searched for itself; otherwise query_no
    and reference_no count from 0 each. Then each unordered pair comes once, smaller image_no first,
    and no self-pairs; the densities of both images count (`Densities.of_pairs`), and the votes of
    both directions are added. A pair is kept when it is among the best of either image, and its
    rank is the better of the two.
    """
    columns = _joined(descriptor, local, densities, symmetric)
    score = fusion.scores(_surpluses(columns, densities))
    score = np.broadcast_to(score, columns.query.shape)
    ranks = (ranks_of_either if symmetric else ranks_of)(columns.query, columns.reference, score)
    kept = np.flatnonzero(options.keeps(ranks, score))
    kept = kept[np.lexsort((columns.reference[kept], -score[kept], columns.query[kept]))]
    names = [field.name for field in fields(CandidatePairs) if field.name not in ("score", "rank")]
    shown = {name: getattr(columns, name)[kept] for name in names}
    return CandidatePairs(**shown, score=score[kept], rank=ranks[kept].astype(np.int32))


@dataclass(frozen=True)
class PairSurpluses:
    """The inputs of `Fusion`. query, reference: (n,) int64 image_no; descriptor, local: (n,)
    surpluses."""

    query: Ints
    reference: Ints
    descriptor: Floats | None
    local: Floats | None


def match_surpluses(
    descriptor: DescriptorPairs | None,
    local: LocalPairs | None,
    densities: tuple[Densities | None, Densities | None],
) -> PairSurpluses:
    """The surpluses of all pairs of `match`; arguments as of `merge_pairs`."""
    columns = _joined(descriptor, local, densities, symmetric=False)
    return PairSurpluses(columns.query, columns.reference, *_surpluses(columns, densities))


@dataclass(frozen=True)
class _Columns:
    """Pairs of both channels, sorted by query and reference; NaN and −1 where one is silent."""

    query: Ints
    reference: Ints
    similarity: Floats
    descriptor_score: Floats
    descriptor_bound: Floats
    votes: Floats
    local_score: Floats
    local_bound: Floats
    descriptor_row: Ints
    local_row: Ints


@dataclass(frozen=True)
class _Channel:
    """Pairs of one channel, each once, sorted by key; `values` is what the table shows."""

    keys: Ints
    values: Floats
    scores: Floats
    rows: Ints


def _joined(
    descriptor: DescriptorPairs | None,
    local: LocalPairs | None,
    densities: tuple[Densities | None, Densities | None],
    symmetric: bool,
) -> _Columns:
    """The outer join of both channels."""
    width = _key_width(descriptor, local)
    by_descriptor = _descriptor_channel(descriptor, densities[0], width, symmetric)
    by_votes = _local_channel(local, densities[1], width, symmetric)
    keys = np.union1d(by_descriptor.keys, by_votes.keys)
    query, reference = keys // width, keys % width
    similarity, descriptor_score, descriptor_row = _aligned(by_descriptor, keys)
    votes, local_score, local_row = _aligned(by_votes, keys)
    return _Columns(
        query,
        reference,
        similarity,
        descriptor_score,
        _bounded(descriptor_score, densities[0], query, reference, symmetric),
        votes,
        local_score,
        _bounded(local_score, densities[1], query, reference, symmetric),
        descriptor_row,
        local_row,
    )


def _key_width(descriptor: DescriptorPairs | None, local: LocalPairs | None) -> int:
    """One more than the largest image_no: query · width + reference is a pair's key."""
    numbers = [
        int(column.max())
        for pairs in (descriptor, local)
        if pairs is not None and len(pairs.query)
        for column in (pairs.query, pairs.reference)
    ]
    return max(numbers, default=0) + 1


def _descriptor_channel(
    pairs: DescriptorPairs | None, densities: Densities | None, width: int, symmetric: bool
) -> _Channel:
    """The best of each pair's rows: views compete, and so do both directions."""
    if pairs is None or densities is None:
        return _silent()
    query, reference = _ends(pairs.query, pairs.reference, symmetric)
    taken = _densities_of(densities, query, reference, symmetric)
    scores = np.asarray(pairs.score - taken, np.float32)
    keys = query * width + reference
    order = np.lexsort((pairs.reference, pairs.query, -pairs.similarity, -scores, keys))
    if symmetric:
        order = order[query[order] != reference[order]]
    rows = order[begins_run(keys[order])]
    return _Channel(keys[rows], pairs.similarity[rows], scores[rows], rows)


def _local_channel(
    pairs: LocalPairs | None, densities: Densities | None, width: int, symmetric: bool
) -> _Channel:
    """Votes of each pair, of both directions together where it is symmetric."""
    if pairs is None or densities is None:
        return _silent()
    query, reference = _ends(pairs.query, pairs.reference, symmetric)
    keys = query * width + reference
    order = np.lexsort((pairs.reference, pairs.query, -pairs.votes, keys))
    if symmetric:
        order = order[query[order] != reference[order]]
    firsts = np.flatnonzero(begins_run(keys[order]))
    rows = order[firsts]
    votes, evidence = pairs.votes[order], densities.evidence(pairs.votes)[order]
    if symmetric and len(rows):
        # Each direction has its say; one without votes says that there is no evidence.
        votes = np.add.reduceat(votes, firsts)
        best = np.maximum.reduceat(evidence, firsts)
        evidence = np.add.reduceat(evidence, firsts) / np.float32(2)
        # In a large family a list holds few of many members: a missing one says nothing.
        in_family = densities.crowded[query[rows]] & densities.crowded[reference[rows]]
        evidence = np.where(in_family, best, evidence)
    else:
        votes, evidence = votes[firsts], evidence[firsts]
    taken = _densities_of(densities, query[rows], reference[rows], symmetric)
    return _Channel(keys[rows], votes, np.asarray(evidence - taken, np.float32), rows)


def _silent() -> _Channel:
    nothing = np.empty(0, np.float32)
    return _Channel(np.empty(0, np.int64), nothing, nothing, np.empty(0, np.int64))


def _ends(query: Ints, reference: Ints, symmetric: bool) -> tuple[Ints, Ints]:
    if not symmetric:
        return query, reference
    return np.minimum(query, reference), np.maximum(query, reference)


def _densities_of(densities: Densities, query: Ints, reference: Ints, symmetric: bool) -> Floats:
    """What the images' densities take off their pairs: (n,) float32."""
    if symmetric:
        return densities.of_pairs(query, reference)
    return np.asarray(densities.values[query], np.float32)


def _aligned(channel: _Channel, keys: Ints) -> tuple[Floats, Floats, Ints]:
    """A channel's columns at the rows of `keys`, of which its own are a subset."""
    at = np.searchsorted(keys, channel.keys)
    values, scores = np.full(len(keys), np.nan, np.float32), np.full(len(keys), np.nan, np.float32)
    rows = np.full(len(keys), -1, np.int64)
    values[at], scores[at], rows[at] = channel.values, channel.scores, channel.rows
    return values, scores, rows


def _bounded(
    scores: Floats, densities: Densities | None, query: Ints, reference: Ints, symmetric: bool
) -> Floats:
    """Scores; where one is missing, the most that a pair beyond the ends of its images' lists can
    have."""
    if densities is None:
        return np.zeros(len(scores), np.float32)
    bounds = densities.floors[query]
    if symmetric:
        bounds = np.minimum(bounds, densities.floors[reference])
    bounds = bounds - _densities_of(densities, query, reference, symmetric)
    return np.where(np.isnan(scores), bounds, scores).astype(np.float32)


def _surpluses(
    columns: _Columns, densities: tuple[Densities | None, Densities | None]
) -> tuple[Floats | None, Floats | None]:
    return (
        _surplus(columns.descriptor_bound, densities[0]),
        _surplus(columns.local_bound, densities[1]),
    )


def _surplus(scores: Floats, densities: Densities | None) -> Floats | None:
    """Normalised scores in powers of e of rarity, none below 0."""
    if densities is None:
        return None
    return np.asarray(np.logaddexp(0, scores / np.float32(densities.spread)), np.float32)
