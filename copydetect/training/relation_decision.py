"""pairs with their relation → the decision on relations: boosted trees, stored as plain numbers.

    python -m copydetect.pipelines.recipes relations fit FEATURES --output decision-relations.json
    python -m copydetect.pipelines.recipes relations fit_designs DESIGNS --output \\
        decision-designs.json

FEATURES, and DESIGNS of edited designs alone, are folders that `relation_sources` has collected:
the measurements of verification on many pairs. Figures are measured on sources that were left out:
all pairs of one source are in one fold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from copydetect.description.keypoints import extract, load_quantiser, quantise
from copydetect.errors import OptionError
from copydetect.images.resizing import limited
from copydetect.training.decision import plain_trees, ranking_quality
from copydetect.training.near_copies import are_near_copies
from copydetect.training.relation_pairs import RelatedPair
from copydetect.types import COPY_RELATIONS, Bools, Doubles, Floats, Pixels
from copydetect.verification import filled_designs
from copydetect.verification.decisions import load_decision
from copydetect.verification.matches import MatchOptions, collect_evidence, prepare_image
from copydetect.verification.regions import joint_confidence
from copydetect.verification.relations import NAMES, TOLD, closer_values, odds_told

_FOLDS = 3
_SEEN_PLAIN = 0.2
"""How much of both pictures is plain ground, for their pair to be one of designs to learn from:
those with hardly less than is asked for tell much the same, and there are more of them."""
_SMALLEST_PX, _SEARCHED_PX = 16, 192
_ALIKE, _ALIKE_FRAMES = 0.75, 0.6
"""Correlation of the middle band in nearly all windows from which the pictures count as one."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """values: (n, len(NAMES)) float32; relations: (n,) names; sources: (n,) where they are from."""

    values: Floats
    relations: npt.NDArray[np.str_]
    sources: npt.NDArray[np.str_]

    @property
    def copies(self) -> Bools:
        """(n,) whether a pair are copies."""
        return np.isin(self.relations, COPY_RELATIONS)


def measure_pairs(pairs: Iterable[RelatedPair]) -> Labelled:
    """Measure pairs as verification does; those without any alignment are left out."""
    decision, options = load_decision(), MatchOptions()
    rows: list[tuple[Floats, str, str]] = []
    for pair in pairs:
        if min(*pair.first.shape[:2], *pair.second.shape[:2]) < _SMALLEST_PX:
            continue
        query, reference = (
            prepare_image(name, pixels, options, None, _searched(pixels))
            for name, pixels in (("query", pair.first), ("reference", pair.second))
        )
        found = collect_evidence(query, reference, None, options, decision)
        if not found:
            continue
        vectors = np.array([one.values for one in found], np.float32)
        if pair.relation == "none" and are_near_copies(vectors):
            continue  # the pictures are near copies, whatever the label says
        best = max(found, key=lambda one: one.confidence)
        closer = closer_values(best, joint_confidence(best, found), query, reference)
        if closer is not None:
            rows.append((closer[0], pair.relation, pair.source))
    values = np.array([row[0] for row in rows], np.float32).reshape(-1, len(NAMES))
    return Labelled(values, np.array([row[1] for row in rows]), np.array([row[2] for row in rows]))


def _searched(pixels: Pixels) -> Any:
    return quantise(extract(limited(pixels, _SEARCHED_PX)), load_quantiser(), "")


def fit(pairs: Labelled) -> dict[str, Any]:
    """The decision as JSON, and under `unseen` what was measured on folds that it had not seen.

    OptionError where a relation has no pairs.
    """
    pairs = _rows(pairs, ~nothing_differs(pairs) | pairs.copies)
    missing = [one for one in TOLD if not (pairs.relations == one).any()]
    if missing:
        raise OptionError(f"no pairs that are {', '.join(missing)}: nothing to learn them from")
    folds = np.array([_fold(source) for source in pairs.sources])
    unseen = np.zeros(len(pairs.values))
    shares = np.zeros((len(pairs.values), len(TOLD)))
    for fold in range(_FOLDS):
        rows, others = folds == fold, folds != fold
        if rows.any() and len(set(pairs.copies[others])) == 2:
            unseen[rows] = _copies(_rows(pairs, others)).decision_function(pairs.values[rows])
            shares[rows] = _shares(_rows(pairs, others), pairs.values[rows])
    asked = np.stack([unseen, odds_told(shares)], axis=1)
    calibration = LogisticRegression(C=1e4).fit(asked, pairs.copies)
    told = np.isin(pairs.relations, TOLD)
    every = _relations(_rows(pairs, told))
    of_class = [list(every.classes_).index(one) for one in TOLD]
    return {
        "inputs": list(NAMES),
        "slope": float(calibration.coef_[0, 0]),
        "told_slope": float(calibration.coef_[0, 1]),
        "intercept": float(calibration.intercept_[0]),
        "copy": plain_trees(_copies(pairs)),
        "relations": {
            one: plain_trees(every, number) for one, number in zip(TOLD, of_class, strict=True)
        },
        "unseen": _figures(pairs, calibration.decision_function(asked), shares),
    }


def fit_designs(pairs: Labelled) -> dict[str, Any]:
    """What tells designs with other content from edited copies, as JSON, and under `unseen` which
    shares of both would be told, of folds that were not seen."""
    ends = [NAMES.index(f"full_{name}") for name in ("plain", "plain_reference")]
    pairs = _rows(pairs, pairs.values[:, ends].min(axis=1) >= _SEEN_PLAIN)
    first = len(NAMES) - len(filled_designs.NAMES)
    values, copies = pairs.values[:, first:], pairs.copies
    folds = np.array([_fold(source) for source in pairs.sources])
    unseen = np.zeros(len(values))
    for fold in range(_FOLDS):
        rows, others = folds == fold, folds != fold
        if rows.any() and len(set(copies[others])) == 2:
            unseen[rows] = _design(values[others], copies[others]).decision_function(values[rows])
    told = unseen < 0
    return {
        "inputs": list(filled_designs.NAMES),
        **plain_trees(_design(values, copies)),
        "unseen": {
            "pairs": len(copies),
            "copies": int(copies.sum()),
            "copies told": round(float(told[copies].mean()), 4),
            "others told": round(float(told[~copies].mean()), 4),
        },
    }


def nothing_differs(pairs: Labelled) -> Bools:
    """(n,) where the intended difference cannot be seen: frames that stood still, digits in a
    thumbnail.

    In two frames something must have moved: an edit of one of them alone does not make them two.
    """
    unseen = {"full_rest_peak": 25.0, "full_raw_ratio": 3.0, "full_colour_p98": 12.0}
    still = {"full_patches": 1.0, "full_blobs": 1.0, "full_moved": 0.05}
    alike = pairs.values[:, NAMES.index("full_middle_p2")]
    stood = (pairs.relations == "same_scene") & _below(pairs, still) & (alike > _ALIKE_FRAMES)
    return np.asarray(stood | _below(pairs, unseen) & (alike > _ALIKE), np.bool_)


def _below(pairs: Labelled, limits: Mapping[str, float]) -> Bools:
    columns = [pairs.values[:, NAMES.index(name)] < most for name, most in limits.items()]
    return np.asarray(np.all(columns, axis=0), np.bool_)


def _fold(source: str) -> int:
    """All designs of one name, videos of one file and so on are in one fold."""
    return hashlib.sha256(source.encode()).digest()[0] % _FOLDS


def _rows(pairs: Labelled, rows: Bools) -> Labelled:
    return Labelled(pairs.values[rows], pairs.relations[rows], pairs.sources[rows])


_BOOSTING: dict[str, Any] = {
    "max_bins": 48,
    "min_samples_leaf": 15,
    "l2_regularization": 3.0,
    "max_features": 0.4,
    "random_state": 0,
}


def _copies(pairs: Labelled) -> HistGradientBoostingClassifier:
    """Fit whether pairs are copies, never less likely where the small copies speak more for it."""
    monotonic = [int(name.endswith("log_odds")) for name in NAMES]
    return HistGradientBoostingClassifier(
        max_iter=120,
        learning_rate=0.08,
        max_leaf_nodes=10,
        **_BOOSTING,
        monotonic_cst=monotonic,
    ).fit(pairs.values, pairs.copies, _weights(pairs))


def _design(values: Floats, copies: Bools) -> HistGradientBoostingClassifier:
    model = HistGradientBoostingClassifier(
        max_iter=120, learning_rate=0.08, max_leaf_nodes=10, **_BOOSTING
    )
    return model.fit(values, copies)


def _relations(pairs: Labelled) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        max_iter=45,
        learning_rate=0.12,
        max_leaf_nodes=8,
        **_BOOSTING,
    ).fit(pairs.values, pairs.relations, _weights(pairs))


def _weights(pairs: Labelled) -> Doubles:
    """(n,) weights of pairs, so that rare relations count: a changed digit is harder to see than
    another scene."""
    names, rows, counts = np.unique(pairs.relations, return_inverse=True, return_counts=True)
    return np.asarray((len(pairs.relations) / (len(names) * counts[rows])) ** 0.75, np.float64)


def _shares(seen: Labelled, values: Floats) -> Doubles:
    """(n, len(TOLD)) by trees that saw `seen` only."""
    told = _rows(seen, np.isin(seen.relations, TOLD))
    model = _relations(told)
    found = np.zeros((len(values), len(TOLD)))
    columns = [TOLD.index(one) for one in model.classes_]
    found[:, columns] = model.predict_proba(values)
    return found


def _figures(pairs: Labelled, scores: Doubles, shares: Doubles) -> dict[str, Any]:
    """How well copies are ranked, and how often each relation is told, of sources not seen."""
    found: dict[str, Any] = {"pairs": len(scores), "copies": int(pairs.copies.sum())}
    before = pairs.values[:, NAMES.index("joint_log_odds")].astype(np.float64)
    for name, ranked in (("small copies", before), ("full size", scores)):
        found[name] = ranking_quality(ranked, pairs.copies, found["copies"], (0.9, 0.97, 0.99))
    said = np.array(TOLD)[shares.argmax(axis=1)]
    found["told"] = {
        one: round(float((said[pairs.relations == one] == one).mean()), 3) for one in TOLD
    }
    return found
