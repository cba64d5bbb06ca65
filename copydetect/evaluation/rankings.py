"""A ranking of pairs, or groups, against a ground truth: all figures of accuracy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from copydetect.errors import OptionError
from copydetect.evaluation import metrics
from copydetect.evaluation.ground_truth import GroupTruth, PairTruth, match_ids
from copydetect.types import Bools, Doubles, Ints

PRECISIONS = (0.9, 0.99)
RANKS = (1, 10, 50)


@dataclass(frozen=True)
class CandidateRule:
    """Which pairs of a ranking are judged: the best of each query, the best of all, or all."""

    per_query: int | None = None
    overall: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("per_query", self.per_query), ("overall", self.overall)):
            if value is not None and value < 1:
                raise OptionError(f"{name} is {value}; at least 1 pair is judged")

    def __str__(self) -> str:
        limits = [f"best {self.per_query} of a query"] if self.per_query else []
        limits += [f"best {self.overall} of all"] if self.overall else []
        return ", ".join(limits) or "all pairs"


@dataclass(frozen=True)
class Ranking:
    """Scored pairs and their judgement: rows of numbers, as in `metrics`.

    positives: the pairs of the truth, (p, 2) int64 numbers; kinds: name → boolean (p,), which of
    them are of that kind of edit or source; symmetric: whether a pair stands for both orders.
    """

    queries: Ints
    references: Ints
    scores: Doubles
    labels: Bools
    positives: Ints
    edits: Mapping[str, Bools]
    sources: Mapping[str, Bools]
    blocks: Mapping[str, Bools]
    symmetric: bool

    @property
    def curve(self) -> metrics.PrecisionRecallCurve:
        """The precision–recall curve of all pairs in one ranking."""
        return metrics.precision_recall_curve(self.scores, self.labels, len(self.positives))


def rank_pairs(
    queries: list[str],
    references: list[str],
    scores: npt.NDArray[np.floating],
    truth: PairTruth | GroupTruth,
    rule: CandidateRule | None = None,
    originals_only: bool = False,
) -> Ranking:
    """Judge scored pairs, n of each; with `originals_only` pairs of two edited images are ignored.

    InputError where a pair occurs twice, a score is no number or no image is in the truth.
    """
    pairs, a_names, b_names = _in_names_of(truth, queries, references, originals_only)
    ids = sorted({*a_names, *b_names, *(image_id for pair in pairs for image_id in pair)})
    number = {image_id: place for place, image_id in enumerate(ids)}
    a = np.array([number[name] for name in a_names], np.int64)
    b = np.array([number[name] for name in b_names], np.int64)
    positives = np.array([[number[x], number[y]] for x, y in pairs], np.int64)
    symmetric = isinstance(truth, GroupTruth)
    if symmetric:
        a, b = np.minimum(a, b), np.maximum(a, b)
        positives = np.sort(positives, axis=1)
    values = np.asarray(scores, np.float64)
    metrics.check_pairs(a, b, values)
    kept = _judged_rows(a, b, values, rule or CandidateRule())
    if isinstance(truth, GroupTruth) and originals_only:
        kept = kept[~_between_edits(a_names, b_names, truth)[kept]]
    labels = np.isin(_codes(a, b), _codes(positives[:, 0], positives[:, 1]))
    edits, sources, blocks = (_marks(pairs, kinds) for kinds in _kinds_of(truth))
    judged = (a[kept], b[kept], values[kept], labels[kept])
    return Ranking(*judged, positives, edits, sources, blocks, symmetric)


def ranking_figures(ranking: Ranking) -> dict[str, Any]:
    """Micro-AP, recall at precisions and at ranks, and the same by kind of edit, as JSON values."""
    curve = ranking.curve
    points = {str(p): metrics.recall_at_precision(curve, p) for p in PRECISIONS}
    cut = points[str(PRECISIONS[0])].threshold
    figures: dict[str, Any] = {
        "pairs": len(ranking.scores),
        "micro_ap": metrics.micro_average_precision(curve),
        "recall_at_precision": {
            name: {"recall": point.recall or 0.0, "threshold": point.threshold}
            for name, point in points.items()
        },
        "recall_at_rank": _recalls_at_ranks(ranking),
    }
    for name, kinds in (("edits", ranking.edits), ("sources", ranking.sources)):
        if kinds:
            figures[name] = _by_kind(ranking, kinds, cut)
    if ranking.blocks:
        figures["map"] = {
            name: _block_map(ranking, mark) for name, mark in sorted(ranking.blocks.items())
        }
    return figures


def false_alarm_rate(reported: Iterable[str], truth: PairTruth | GroupTruth) -> float:
    """Share of the images without a copy that are among `reported`, those said to have one.

    Of queries, where the truth is of queries and references.
    """
    reported = set(reported)
    if isinstance(truth, PairTruth):
        asked, copied = set(truth.queries), {query for query, _ in truth.pairs}
    else:
        sizes = Counter(truth.group_of.values())
        asked = set(truth.group_of)
        copied = {image_id for image_id, group in truth.group_of.items() if sizes[group] > 1}
    named = match_ids(sorted(asked), reported, "image") if reported else {}
    strangers = asked - copied
    return len(strangers & set(named.values())) / max(1, len(strangers))


def group_figures(groups: Mapping[str, str], truth: GroupTruth) -> dict[str, Any]:
    """B-cubed and pairs of `groups` (image_id → group_id, grouped images only) against the truth.

    Over the images of the truth; one that is in no group is alone.
    """
    named = match_ids(truth.group_of, groups, "grouped image")
    group_of = {named[image_id]: group for image_id, group in groups.items() if image_id in named}
    images = sorted(truth.group_of)
    predicted = _group_numbers([group_of.get(i, f"\0{i}") for i in images])
    wanted = _group_numbers([truth.group_of[i] for i in images])
    figures = {}
    for name, result in (
        ("b_cubed", metrics.b_cubed(predicted, wanted)),
        ("pairs", metrics.grouped_pairs(predicted, wanted)),
    ):
        figures[name] = {"precision": result.precision, "recall": result.recall, "f1": result.f1}
    return {"images": len(images), **figures}


def _in_names_of(
    truth: PairTruth | GroupTruth, queries: list[str], references: list[str], originals_only: bool
) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """The truth's pairs, and queries and references by the truth's ids; strangers marked so."""
    if isinstance(truth, PairTruth):
        pairs = truth.pairs
        query_ids = match_ids(truth.queries, queries, "query")
        reference_ids = match_ids((reference for _, reference in pairs), references, "reference")
    else:
        pairs = _pairs_of_groups(truth, originals_only)
        query_ids = reference_ids = match_ids(truth.group_of, [*queries, *references], "image")
    return (
        pairs,
        [query_ids.get(query, f"\0{query}") for query in queries],
        [reference_ids.get(reference, f"\0{reference}") for reference in references],
    )


def _group_numbers(names: list[str]) -> Ints:
    return np.unique(np.array(names, str), return_inverse=True)[1].astype(np.int64)


def _judged_rows(
    a: Ints,
    b: Ints,
    scores: Doubles,
    rule: CandidateRule,
) -> Ints:
    rows = np.arange(len(scores))
    if rule.per_query is not None:
        rows = metrics.best_of_each_query(a, b, scores, rule.per_query)
    if rule.overall is not None:
        rows = rows[metrics.best_overall(a[rows], b[rows], scores[rows], rule.overall)]
    return rows


def _codes(a: Ints, b: Ints) -> Ints:
    return (a << 32) | b


def _pairs_of_groups(truth: GroupTruth, originals_only: bool) -> list[tuple[str, str]]:
    members: dict[str, list[str]] = {}
    for image_id in sorted(truth.group_of):
        members.setdefault(truth.group_of[image_id], []).append(image_id)
    return [
        (a, b)
        for group in members.values()
        for place, a in enumerate(group)
        for b in group[place + 1 :]
        if not originals_only or a in truth.originals or b in truth.originals
    ]


def _between_edits(queries: list[str], references: list[str], truth: GroupTruth) -> Bools:
    """Which pairs are two edited images of one group."""
    of = truth.group_of
    return np.array(
        [
            a in of and of[a] == of.get(b) and not {a, b} & truth.originals
            for a, b in zip(queries, references, strict=True)
        ],
        bool,
    )


def _kinds_of(truth: PairTruth | GroupTruth) -> list[Mapping[str, list[str]]]:
    blocks = truth.blocks if isinstance(truth, PairTruth) else {}
    return [
        truth.edits,
        {image_id: [source] for image_id, source in truth.sources.items()},
        {query: [block] for query, block in blocks.items()},
    ]


def _marks(pairs: list[tuple[str, str]], kinds: Mapping[str, list[str]]) -> dict[str, Bools]:
    """For every kind, which pairs hold an image of that kind."""
    marks: dict[str, Bools] = {}
    for row, pair in enumerate(pairs):
        for kind in sorted({kind for image_id in pair for kind in kinds.get(image_id, [])}):
            marks.setdefault(kind, np.zeros(len(pairs), bool))[row] = True
    return dict(sorted(marks.items()))


def _recalls_at_ranks(ranking: Ranking) -> dict[str, float]:
    queries, scores, labels = ranking.queries, ranking.scores, ranking.labels
    if not ranking.symmetric:
        ranks = metrics.ranks_of_copies(queries, scores, labels)
        return {str(k): metrics.recall_at_k(ranks, k, len(ranking.positives)) for k in RANKS}
    both = np.concatenate([queries, ranking.references])
    scores, labels = np.tile(scores, 2), np.tile(labels, 2)
    having = len(np.unique(ranking.positives))
    return {str(k): metrics.hit_rate_at_k(both, scores, labels, k, having) for k in RANKS}


def _by_kind(
    ranking: Ranking, kinds: Mapping[str, Bools], cut: float | None
) -> dict[str, dict[str, float]]:
    """For every kind: how many copies, the share above `cut` and the share that are first."""
    codes = _codes(ranking.positives[:, 0], ranking.positives[:, 1])
    found = _codes(ranking.queries, ranking.references)[ranking.labels]
    first = metrics.ranks_of_copies(ranking.queries, ranking.scores, ranking.labels) == 0
    above = ranking.scores[ranking.labels] >= (np.inf if cut is None else cut)
    is_first, is_above = np.isin(codes, found[first]), np.isin(codes, found[above])
    at_precision = f"recall_at_precision_{PRECISIONS[0]}"
    figures = {}
    for kind, mark in kinds.items():
        figures[kind] = {"copies": int(mark.sum()), at_precision: float(is_above[mark].mean())}
        if not ranking.symmetric:
            figures[kind]["recall_at_rank_1"] = float(is_first[mark].mean())
    return figures


def _block_map(ranking: Ranking, mark: Bools) -> float:
    """Mean average precision of the queries of one block."""
    queries, positives = np.unique(ranking.positives[mark, 0], return_counts=True)
    rows = np.isin(ranking.queries, queries)
    numbers = np.searchsorted(queries, ranking.queries[rows])
    return metrics.mean_average_precision(
        numbers, ranking.scores[rows], ranking.labels[rows], positives
    )
