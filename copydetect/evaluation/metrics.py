"""How good a ranking of pairs, a confidence and a grouping are, against a ground truth.

Pairs are rows of parallel arrays: `queries` and `references` (n,) int64 numbers of images,
`scores` (n,) higher-is-better, `labels` (n,) bool, whether the ground truth holds the pair.
Conventions are those of the Image Similarity Challenge (Douze et al., The 2021 Image Similarity
Dataset and Challenge, arXiv 2106.09672): one ranking of the pairs of all queries, recall out of
all pairs of the ground truth whether proposed or not, ties with the negatives first, and a pair
that is proposed twice is an error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from copydetect.errors import InputError
from copydetect.sorted_rows import place_in_run
from copydetect.types import Bools, Doubles, Ints

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision and recall after each pair of a ranking, best pair first; all (n,) float64."""

    precisions: Doubles
    recalls: Doubles
    thresholds: Doubles


@dataclass(frozen=True)
class Cut:
    """Where a ranking is cut: pairs that score at least `threshold` are taken.

    All three are None where no cut reaches the wanted precision.
    """

    precision: float | None
    recall: float | None
    threshold: float | None


@dataclass(frozen=True)
class Reliability:
    """Confidence against what came true, in bins of equal width over [0, 1].

    edges: (b + 1,) float64; counts: (b,) int64; mean_confidences, copy_fractions: (b,) float64,
    NaN in an empty bin.
    """

    edges: Doubles
    counts: Ints
    mean_confidences: Doubles
    copy_fractions: Doubles

    @property
    def expected_calibration_error(self) -> float:
        """Mean |confidence − copy fraction| over the pairs (Guo et al., arXiv 1706.04599)."""
        filled = self.counts > 0
        gaps = np.abs(self.mean_confidences[filled] - self.copy_fractions[filled])
        return float(np.average(gaps, weights=self.counts[filled])) if filled.any() else 0.0


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall of a set, in [0, 1]; an empty denominator counts as 1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        total = self.precision + self.recall
        return 2.0 * self.precision * self.recall / total if total else 0.0


def check_pairs(queries: Integers, references: Integers, scores: Floats) -> None:
    """InputError where a pair occurs twice or a score is not a number."""
    unordered = np.isnan(scores)
    if unordered.any():
        row = int(unordered.argmax())
        raise InputError(f"the score of pair {row} is not a number; every pair needs one")
    order = np.lexsort((references, queries))
    repeated = (np.diff(queries[order]) == 0) & (np.diff(references[order]) == 0)
    if repeated.any():
        rows = sorted(int(row) for row in order[repeated.argmax() :][:2])
        raise InputError(f"pairs {rows[0]} and {rows[1]} are the same; a pair counts once")


def best_of_each_query(queries: Integers, references: Integers, scores: Floats, k: int) -> Ints:
    """Rows of the `k` best pairs of every query, ascending: one rule of the challenge.

    Equal scores are taken by the smaller reference number, whatever the labels.
    """
    order = np.lexsort((references, -scores, queries))
    kept = order[place_in_run(queries[order]) < k]
    return np.sort(kept).astype(np.int64)


def best_overall(queries: Integers, references: Integers, scores: Floats, count: int) -> Ints:
    """Rows of the `count` best pairs of all queries together, ascending: the other rule.

    Equal scores are taken by the smaller query and reference numbers, whatever the labels.
    """
    return np.sort(np.lexsort((references, queries, -scores))[:count]).astype(np.int64)


def precision_recall_curve(scores: Floats, labels: Bools, positives: int) -> PrecisionRecallCurve:
    """The curve of one ranking; `positives` is the number of pairs in the ground truth."""
    if positives < max(1, int(labels.sum())):
        raise InputError(f"a ground truth of {positives} pairs cannot judge this ranking")
    order = np.lexsort((labels, -scores.astype(np.float64)))
    found = np.cumsum(labels[order], dtype=np.int64)
    return PrecisionRecallCurve(
        precisions=found / np.arange(1, len(found) + 1),
        recalls=found / positives,
        thresholds=scores[order].astype(np.float64),
    )


def micro_average_precision(curve: PrecisionRecallCurve) -> float:
    """Σ (Rᵢ − Rᵢ₋₁) · Pᵢ over the ranking of all queries: the challenge's first metric."""
    return float(np.sum(np.diff(curve.recalls, prepend=0.0) * curve.precisions))


def recall_at_precision(curve: PrecisionRecallCurve, precision: float) -> Cut:
    """The highest recall at any point of the ranking whose precision is at least `precision`.

    As in the challenge, a point may lie inside a run of equal scores.
    """
    reached = np.flatnonzero(curve.precisions >= precision)
    if not len(reached):
        return Cut(None, None, None)
    best = reached[curve.recalls[reached].argmax()]
    return Cut(
        float(curve.precisions[best]), float(curve.recalls[best]), float(curve.thresholds[best])
    )


def ranks_of_copies(queries: Integers, scores: Floats, labels: Bools) -> Ints:
    """For each true pair, how many other pairs of its query score at least as much.

    Returns (labels.sum(),) in row order; 0 is best. Ties count against the pair.
    """
    order = np.lexsort((-scores, queries))
    query, score = queries[order], scores[order]
    equals_behind = place_in_run(query[::-1], score[::-1])[::-1]
    ranks = np.empty(len(order), np.int64)
    ranks[order] = place_in_run(query) + equals_behind
    return ranks[labels]


def recall_at_k(ranks: Integers, k: int, positives: int) -> float:
    """Share of the ground truth's pairs that are among the `k` best of their query."""
    return int((ranks < k).sum()) / positives


def hit_rate_at_k(
    queries: Integers, scores: Floats, labels: Bools, k: int, queries_with_copies: int
) -> float:
    """Share of the queries that have a copy with at least one among their `k` best.

    Of equal scores negatives come first; copies don't stand in each other's way.
    """
    order = np.lexsort((labels, -scores, queries))
    hits = labels[order] & (place_in_run(queries[order]) < k)
    return len(np.unique(queries[order][hits])) / queries_with_copies


def mean_average_precision(
    queries: Integers, scores: Floats, labels: Bools, positives: Integers
) -> float:
    """Mean over the queries of the area under each one's own precision–recall curve.

    positives: (q,) int, the copies that query number 0…q−1 has, at least one each; a query
    without predictions counts 0. Trapezoids, as in the INRIA Holidays and Copydays evaluation
    (Jégou et al., Hamming embedding and weak geometric consistency, ECCV 2008).
    """
    order = np.lexsort((labels, -scores, queries))
    query, label = queries[order], labels[order]
    places = place_in_run(query)
    earlier = np.cumsum(label, dtype=np.int64) - label
    found_before = (earlier - earlier[np.arange(len(order)) - places])[label]
    rank = places[label]
    left = np.where(rank == 0, 1.0, found_before / np.maximum(rank, 1))
    right = (found_before + 1) / (rank + 1)
    areas = (left + right) / 2.0 / positives[query[label]]
    return float(areas.sum() / len(positives))


def reliability(confidences: Floats, labels: Bools, bins: int = 15) -> Reliability:
    """Bin the confidences, which are in [0, 1]; a bin holds its lower edge, the last both."""
    if len(confidences) and not (confidences.min() >= 0.0 and confidences.max() <= 1.0):
        raise InputError("a confidence is outside 0…1")
    number = np.minimum((confidences.astype(np.float64) * bins).astype(np.int64), bins - 1)
    counts = np.bincount(number, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = np.bincount(number, confidences, minlength=bins) / counts
        fractions = np.bincount(number, labels, minlength=bins) / counts
    return Reliability(np.linspace(0.0, 1.0, bins + 1), counts, means, fractions)


def b_cubed(predicted: Integers, truth: Integers) -> PrecisionRecall:
    """B-cubed precision and recall of a grouping (Bagga and Baldwin 1998; Amigó et al. 2009).

    predicted, truth: (n,) group number of every image; an image alone has a number of its own.
    """
    if not len(predicted):
        return PrecisionRecall(1.0, 1.0)
    sizes, predicted_sizes, truth_sizes = _overlaps(predicted, truth)
    return PrecisionRecall(
        float(np.sum(sizes**2 / predicted_sizes) / len(predicted)),
        float(np.sum(sizes**2 / truth_sizes) / len(predicted)),
    )


def grouped_pairs(predicted: Integers, truth: Integers) -> PrecisionRecall:
    """Precision and recall of the pairs of images that two groupings put together.

    predicted, truth: (n,) group number of every image, as for `b_cubed`.
    """
    sizes, _, _ = _overlaps(predicted, truth)
    both = _pairs_in(sizes)
    found = _pairs_in(np.unique(predicted, return_counts=True)[1])
    wanted = _pairs_in(np.unique(truth, return_counts=True)[1])
    return PrecisionRecall(both / found if found else 1.0, both / wanted if wanted else 1.0)


def _pairs_in(sizes: Integers) -> int:
    return int(np.sum(sizes.astype(np.int64) * (sizes.astype(np.int64) - 1) // 2))


def _overlaps(predicted: Integers, truth: Integers) -> tuple[Ints, Ints, Ints]:
    """For each (predicted, true) group that share images: how many, and the size of either."""
    _, predicted = np.unique(predicted, return_inverse=True)
    _, truth = np.unique(truth, return_inverse=True)
    width = int(truth.max(initial=0)) + 1
    cells, sizes = np.unique(predicted * width + truth, return_counts=True)
    return sizes, np.bincount(predicted)[cells // width], np.bincount(truth)[cells % width]
