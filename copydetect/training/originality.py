"""Groups whose original is known → the weights of the signs of originality, and their figures.

    copydetect edits PHOTOS --output EDITS
    copydetect dedup PHOTOS EDITS/images --output OUT
    python -m copydetect.pipelines.recipes originality OUT EDITS/ground_truth.csv …

prints the weights to be written into `copydetect.grouping.originality`, and how often the original
has the highest score, with the present weights, and with fitted ones in cross-validation. A group
holds those copies of one original that the run has grouped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from scipy.optimize import minimize

from copydetect.errors import InputError
from copydetect.evaluation.ground_truth import GroupTruth, PairTruth, match_ids, read_truth
from copydetect.grouping.originality import CERTAIN, SIGNS, Originality
from copydetect.grouping.pairs import VerifiedPairs, numbers_of
from copydetect.results import Result
from copydetect.types import Bools, Doubles

_FOLDS = 5
_LARGEST = 6.0
"""No sign is worth more than this, in log-odds."""


@dataclass(frozen=True)
class LabelledGroup:
    """One group. signs: (m, signs) of its files, one file per content; original: (m,) bool, true
    for one of them."""

    signs: Doubles
    original: Bools


@dataclass(frozen=True)
class KeptOriginals:
    """How often the original has the highest score.

    groups: how many there are; right: in how many the original is first; certain: in how many the
    first one counts as known; wrong: in how many of these the first one is not the original.
    """

    groups: int
    right: int
    certain: int
    wrong: int

    def __str__(self) -> str:
        return (
            f"original kept in {self.right} of {self.groups} groups; {self.certain} certain, "
            f"{self.wrong} of them wrong"
        )


def groups_of(result: Result, truth_uri: str) -> list[LabelledGroup]:
    """The groups of a finished run of `dedup` that hold one known original and copies of it.

    InputError where the truth is none, or names no image of the run.
    """
    truth = read_truth(result.storage, truth_uri)
    truth = GroupTruth.of_pairs(truth) if isinstance(truth, PairTruth) else truth
    images = result.images.sort_by("image_id")
    ids = images["image_id"].to_pylist()
    named = match_ids(truth.group_of, ids, "image")
    contents = numbers_of(images, pc.coalesce(images["duplicate_of"], images["image_id"]))
    pairs = VerifiedPairs.of(images, contents, result.matches)
    signs = Originality.of(images, contents, result.table("histories"), pairs).signs
    groups = result.groups
    group_of = dict(
        zip(groups["image_id"].to_pylist(), groups["group_id"].to_pylist(), strict=True)
    )
    together: dict[tuple[str, str], dict[int, int]] = {}
    for row, image_id in enumerate(ids):
        if image_id in named and image_id in group_of:
            key = group_of[image_id], truth.group_of[named[image_id]]
            together.setdefault(key, {}).setdefault(int(contents[row]), row)
    found = []
    for rows in map(list, map(dict.values, together.values())):
        original = np.array([named[ids[row]] in truth.originals for row in rows], np.bool_)
        if len(rows) > 1 and original.sum() == 1:
            found.append(LabelledGroup(signs[rows], original))
    return found


def fit_weights(groups: Sequence[LabelledGroup], strength: float = 0.05) -> Doubles:
    """(signs,) weights of a conditional logit (McFadden 1974), in the direction that each sign has.

    strength: of the squared weights that keep rare signs small. InputError without groups.
    """
    if not groups:
        raise InputError("there is no group of a known original and copies of it")

    def loss(weights: Doubles) -> tuple[float, Doubles]:
        total, slope = strength * float(weights @ weights), 2 * strength * weights
        for group in groups:
            chances = _chances(group, weights)
            total -= float(np.log(chances[group.original].sum() + 1e-12))
            slope = slope + group.signs.T @ (chances - group.original)
        return total, slope

    speaks_for = np.array([bool(sign.kept) for sign in SIGNS])
    bounds = [(0.0, _LARGEST) if good else (-_LARGEST, 0.0) for good in speaks_for]
    start = np.zeros(len(SIGNS))
    fitted = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")
    return np.asarray(fitted.x, np.float64)


def kept_originals(
    groups: Sequence[LabelledGroup], weights: Sequence[Doubles] | Doubles
) -> KeptOriginals:
    """How often the original of each group is first; weights: of all groups, or one for each."""
    each = np.broadcast_to(np.asarray(weights), (len(groups), len(SIGNS)))
    chances = [_chances(group, one) for group, one in zip(groups, each, strict=True)]
    right = [bool(group.original[np.argmax(of)]) for group, of in zip(groups, chances, strict=True)]
    certain = [float(of.max()) >= CERTAIN for of in chances]
    wrong = sum(sure and not good for sure, good in zip(certain, right, strict=True))
    return KeptOriginals(len(groups), sum(right), sum(certain), wrong)


def cross_validated(groups: Sequence[LabelledGroup]) -> KeptOriginals:
    """The same with weights for each group that were fitted without it."""
    weights = np.zeros((len(groups), len(SIGNS)))
    for fold in range(_FOLDS):
        others = [group for number, group in enumerate(groups) if number % _FOLDS != fold]
        weights[fold::_FOLDS] = fit_weights(others)
    return kept_originals(groups, weights)


def _chances(group: LabelledGroup, weights: Doubles) -> Doubles:
    """(m,) the probability of each file to be the original."""
    scores = group.signs @ weights
    return np.asarray(np.exp(scores - np.logaddexp.reduce(scores)), np.float64)
