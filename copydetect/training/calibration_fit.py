"""Labelled pairs → a calibration: the map, the thresholds with their intervals, recall by kind.

Everything that is measured is measured out of fold: on pairs of originals that the map which judges
them has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import brentq, isotonic_regression, minimize

from copydetect.errors import OptionError
from copydetect.evaluation.metrics import reliability
from copydetect.intervals import wilson
from copydetect.types import Bools, Doubles, Ints
from copydetect.verification.calibration import (
    Calibration,
    OperatingPoint,
    ProbabilityMap,
    Task,
    are_copies,
    decision_digest,
    log_odds,
    pairs_to_show,
)
from copydetect.verification.priors import Priors

PRECISIONS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
"""Thresholds are written out for these; the calibration can be asked for any other."""
_FOLDS = 5
_REGULARISATION = 100.0
_RESAMPLES = 200
_LEAST = 20
_STEP_PAIRS = 25
_STEPS_PAY = 0.98
_STEPS_FROM = 500
"""Isotonic steps overfit small samples (Niculescu-Mizil and Caruana, ICML 2005)."""
_COLUMNS = ("confidences", "other_content", "scores", "labels", "origins", "found", "across")
_LOWEST_PRECISION, _POINT_STEP = 0.3, 0.002


@dataclass(frozen=True, eq=False)
class LabelledPairs:
    """Pairs with the truth about them; row i of each field belongs together.

    confidences: (n,) in [0, 1], of the decision; other_content: (n,) in [0, 1], as in
    `types.Match`; scores: (n,) of the search; labels: (n,) whether
    they are copies; origins: (n,) int64, the original that a pair is about: pairs of one stay in
    one fold and are drawn together; found: (n,) whether the search proposed the pair, the others
    only count as missed copies; across: (n,) whether they are a made copy and an image of the
    collection, as queries and references are; kinds: n tuples, the edits of a copy.
    """

    confidences: Doubles
    other_content: Doubles
    scores: Doubles
    labels: Bools
    origins: Ints
    found: Bools
    across: Bools
    kinds: Sequence[tuple[str, ...]]

    def of(self, task: Task) -> LabelledPairs:
        """The pairs that a search for this task meets.

        For match these are pairs of a query and a reference. Every second original counts as if it
        were not among the references, so that half of the queries have no copy.
        """
        if task == "dedup":
            return self
        rows = np.flatnonzero(self.across & ~(self.labels & (self.origins % 2 == 1)))
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return LabelledPairs(**columns, kinds=[self.kinds[row] for row in rows.tolist()])


def fit_calibration(
    pairs: LabelledPairs, channels: tuple[str, ...] = (), use_score: bool = True
) -> Calibration:
    """Fit the map and measure it.

    OptionError where there are too few copies or too few strangers to learn from.
    """
    _check(pairs)
    rows = pairs.found & (pairs.confidences < 1)
    copies = int(pairs.labels[rows].sum())
    forms = [False, True] if min(copies, int(rows.sum()) - copies) >= _STEPS_FROM else [False]
    unseen = [_out_of_fold(pairs, rows, use_score, steps) for steps in forms]
    losses = [_log_loss(values[rows], pairs.labels[rows]) for values in unseen]
    # Steps follow the data closer than a curve does; they must earn it where it was not fitted.
    steps = len(losses) > 1 and losses[1] < _STEPS_PAY * losses[0]
    probabilities = unseen[int(steps)]
    # Without any transform there is no proof: such a pair is never reported.
    proved = pairs.found & (pairs.confidences > 0)
    proved &= are_copies(probabilities, pairs.other_content, 0.0)
    reported = np.where(proved, probabilities, -1.0)
    fitted = _fit_map(pairs, rows, use_score, steps)
    error = reliability(probabilities[pairs.found], pairs.labels[pairs.found])
    return Calibration(
        map=fitted,
        points=operating_points(reported, pairs.labels),
        decision=decision_digest(),
        channels=channels if fitted.score else (),
        reliability={
            "expected_calibration_error": error.expected_calibration_error,
            "log_loss": losses[int(steps)],
            "folds": _FOLDS,
        },
        thresholds={f"{p:g}": _threshold(pairs, reported, p) for p in PRECISIONS},
    )


def out_of_fold(pairs: LabelledPairs, fitted: Calibration) -> Doubles:
    """Probabilities (n,) by maps of the same form that have not seen the pair; −1: not found."""
    rows = pairs.found & (pairs.confidences < 1)
    values = _out_of_fold(pairs, rows, fitted.map.score > 0, bool(fitted.map.steps))
    return np.where(pairs.found, values, -1.0)


def operating_points(probabilities: Doubles, labels: Bools) -> tuple[OperatingPoint, ...]:
    """The lowest threshold for each precision that is reached, both ascending in small steps.

    probabilities: (n,), below 0 for pairs that cannot be reported; labels: (n,).
    """
    thresholds, right, wrong = _curve(probabilities, labels, np.ones(len(labels)))
    copies = max(int(labels.sum()), 1)
    points: list[OperatingPoint] = []
    for threshold, hits, misses in zip(thresholds[::-1], right[::-1], wrong[::-1], strict=True):
        count = int(hits + misses)
        precision = float(hits / count)
        if precision < (points[-1].precision + _POINT_STEP if points else _LOWEST_PRECISION):
            continue
        low, high = wilson(int(hits), count)
        point = OperatingPoint(float(threshold), precision, low, high, float(hits / copies), count)
        points.append(point)
    return tuple(points)


def _check(pairs: LabelledPairs) -> None:
    copies = int((pairs.labels & pairs.found).sum())
    strangers = int((~pairs.labels).sum())
    if copies < _LEAST:
        raise OptionError(
            f"the search found {copies} of {int(pairs.labels.sum())} made copies; a calibration "
            f"needs {_LEAST} at least: give more images, a larger --sample or more --copies"
        )
    if strangers < _LEAST:
        raise OptionError(
            f"only {strangers} of the verified pairs are certainly strangers; a calibration needs "
            f"at least {_LEAST}: give a larger collection, or one in which not everything is a "
            "copy of everything"
        )


def _out_of_fold(pairs: LabelledPairs, rows: Bools, use_score: bool, steps: bool) -> Doubles:
    """Each pair's probability by a map that was fitted without its fold."""
    numbers = np.unique(pairs.origins, return_inverse=True)[1]
    folds = np.random.default_rng(0).permutation(int(numbers.max()) + 1)[numbers] % _FOLDS
    values = np.zeros(len(rows))
    for fold in range(_FOLDS):
        seen, judged = rows & (folds != fold), folds == fold
        if len(np.unique(pairs.labels[seen])) < 2:
            raise OptionError(
                "too few originals: each fold of the cross-validation needs copies and strangers"
            )
        fitted = _fit_map(pairs, seen, use_score, steps)
        priors = Priors(pairs.scores[judged], np.ones(int(judged.sum())))
        shown = pairs.confidences[judged], pairs.other_content[judged]
        values[judged] = priors.confidences(*shown, fitted)
    return values


def _fit_map(pairs: LabelledPairs, rows: Bools, use_score: bool, steps: bool) -> ProbabilityMap:
    """Two copies of one image may have hardly anything in common. So they do not tell how much a
    confidence and a score are worth, only how many pairs are copies."""
    telling = rows & (pairs.across | ~pairs.labels)
    shown = pairs.confidences[telling], pairs.scores[telling]
    fitted = _logistic(*shown, pairs.labels[telling], use_score)
    x = fitted.evidence(pairs.confidences[rows], pairs.scores[rows])
    surplus = _surplus(x, pairs.labels[rows])
    fitted = replace(fitted, intercept=fitted.intercept + surplus)
    if not steps:
        return fitted
    x += surplus
    return ProbabilityMap(
        fitted.confidence, fitted.score, fitted.intercept, _steps(x, pairs.labels[rows])
    )


def _surplus(x: Doubles, labels: Bools) -> float:
    """By how much log-odds x, (n,), are to be raised for as many copies as there are."""
    return float(brentq(lambda raised: _sigmoid(x + raised).sum() - labels.sum(), -20, 20))


def _logistic(
    confidences: Doubles, scores: Doubles, labels: Bools, use_score: bool
) -> ProbabilityMap:
    """Logistic regression; an input that would speak against copies is left out."""
    bounded = ProbabilityMap(0.0, 1.0).evidence(confidences, scores)
    inputs = {"confidence": log_odds(confidences)} | ({"score": bounded} if use_score else {})
    while True:
        values = np.stack(list(inputs.values()), axis=1)
        *slopes, intercept = regressed(values, labels)
        weights = dict(zip(inputs, slopes, strict=True))
        worst = min(weights, key=lambda name: weights[name])
        if weights[worst] >= 0 or len(inputs) == 1:
            break
        del inputs[worst]
    kept = {name: max(weight, 1e-3) for name, weight in weights.items()}
    return ProbabilityMap(kept.get("confidence", 0.0), kept.get("score", 0.0), intercept)


def regressed(values: Doubles, labels: Bools) -> list[float]:
    """Weights and intercept of logistic regression, with a slight L2 penalty on the weights.

    values: (n, m). It finds what scikit-learn's `LogisticRegression(C=100)` finds. `copydetect
    calibrate` would need that library for nothing else.
    """
    sides = np.where(labels, 1.0, -1.0)
    inputs = np.column_stack([values, np.ones(len(values))])
    penalised = np.append(np.full(values.shape[1], 1 / _REGULARISATION), 0.0)

    def loss(weights: Doubles) -> tuple[float, Doubles]:
        margins = sides * (inputs @ weights)
        gradient = -(sides * _sigmoid(-margins)) @ inputs + penalised * weights
        return float(np.logaddexp(0, -margins).sum() + penalised @ weights**2 / 2), gradient

    found = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="BFGS")
    weights: list[float] = found.x.tolist()
    return weights


def _sigmoid(x: Doubles) -> Doubles:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))), np.float64)


def _steps(x: Doubles, labels: Bools) -> tuple[tuple[float, float], ...]:
    """Isotonic steps of at least `_STEP_PAIRS` pairs as (mean x, log-odds), strictly ascending."""
    order = np.argsort(x, kind="stable")
    x, labels = x[order], labels[order]
    levels = isotonic_regression(labels.astype(np.float64)).x
    ends = [*np.flatnonzero(np.diff(levels)) + 1, len(x)]
    steps: list[tuple[float, float]] = []
    start = 0
    for end in ends:
        if end - start < _STEP_PAIRS and end != len(x):
            continue
        share = (labels[start:end].sum() + 0.5) / (end - start + 1)
        step = (float(x[start:end].mean()), float(np.log(share / (1 - share))))
        if not steps or (step[0] > steps[-1][0] and step[1] > steps[-1][1]):
            steps.append(step)
        start = end
    return tuple(steps)


def _log_loss(probabilities: Doubles, labels: Bools) -> float:
    right = np.where(labels, probabilities, 1 - probabilities)
    return float(-np.log(np.maximum(right, 1e-9)).mean())


def _curve(probabilities: Doubles, labels: Bools, weights: Doubles) -> tuple[Doubles, ...]:
    """Thresholds, descending, with the weight of copies and of strangers from there up."""
    order = np.argsort(-probabilities, kind="stable")
    order = order[probabilities[order] >= 0]
    values = probabilities[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else order
    right = np.cumsum(weights[order] * labels[order])
    wrong = np.cumsum(weights[order] * ~labels[order])
    return values[last], right[last], wrong[last]


def _cut(curve: tuple[Doubles, ...], precision: float) -> int | None:
    """The last place on the curve with at least this precision; None where there is none."""
    _, right, wrong = curve
    reported = right + wrong
    enough = (right >= precision * reported - 1e-9) & (reported >= pairs_to_show(precision))
    return int(np.flatnonzero(enough)[-1]) if enough.any() else None


def _threshold(pairs: LabelledPairs, probabilities: Doubles, precision: float) -> dict[str, Any]:
    """The threshold for one precision, with 95 % intervals, and the recall there.

    The precision's interval is Wilson's; the threshold's is a bootstrap over originals.
    """
    labels = pairs.labels
    curve = _curve(probabilities, labels, np.ones(len(labels)))
    cut = _cut(curve, precision)
    if cut is None:
        return {"reached": False}
    threshold, right, wrong = (float(column[cut]) for column in curve)
    low, high = wilson(round(right), round(right + wrong))
    drawn = _resampled(pairs, probabilities, precision)
    above = (probabilities >= threshold) & labels
    return {
        "reached": True,
        "threshold": threshold,
        "threshold_low": float(np.quantile(drawn, 0.025)),
        "threshold_high": float(np.quantile(drawn, 0.975)),
        "precision": right / (right + wrong),
        "precision_low": low,
        "precision_high": high,
        "pairs": round(right + wrong),
        "recall": float(above.sum() / labels.sum()),
        "recall_by_kind": _by_kind(pairs, above),
    }


def _resampled(pairs: LabelledPairs, probabilities: Doubles, precision: float) -> Doubles:
    """Thresholds of bootstrap samples of the originals; 1 where the precision is not reached."""
    rng = np.random.default_rng(0)
    numbers = np.unique(pairs.origins, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    drawn = np.ones(_RESAMPLES)
    for i in range(_RESAMPLES):
        times = np.bincount(rng.integers(0, count, count), minlength=count)
        curve = _curve(probabilities, pairs.labels, times[numbers].astype(np.float64))
        cut = _cut(curve, precision)
        if cut is not None:
            drawn[i] = curve[0][cut]
    return drawn


def _by_kind(pairs: LabelledPairs, above: Bools) -> dict[str, dict[str, float]]:
    """For each kind of edit, how many copies it was used for, and which share of them is
    reported."""
    copies = np.flatnonzero(pairs.labels).tolist()
    figures = {}
    for kind in sorted({kind for row in copies for kind in pairs.kinds[row]}):
        rows = [row for row in copies if kind in pairs.kinds[row]]
        figures[kind] = {"copies": len(rows), "recall": float(above[rows].mean())}
    return figures
