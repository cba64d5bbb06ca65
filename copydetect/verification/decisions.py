"""evidence → the probability that a pair are copies, and the reason in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from copydetect.errors import ModelError
from copydetect.models import MODELS
from copydetect.verification.evidence import NAMES, Evidence
from copydetect.verification.trees import BoostedTrees

BUNDLED_DECISION = MODELS / "decision-pairs.json"


@dataclass(frozen=True, eq=False)
class Decision:
    """Boosted trees over an evidence vector, and Platt's calibration of their sum.

    P(copy) = σ(slope · sum + intercept).
    """

    trees: BoostedTrees
    slope: float
    intercept: float

    def confidences(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """(n,) probabilities in [0, 1] for evidence vectors, (n, len(NAMES))."""
        logits = self.slope * self.trees.sums(values) + self.intercept
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))), np.float64)

    def judged(self, found: Sequence[Evidence]) -> list[Evidence]:
        """The same evidence, each with its confidence."""
        if not found:
            return []
        confidences = self.confidences(np.stack([one.values for one in found])).tolist()
        return [replace(one, confidence=p) for one, p in zip(found, confidences, strict=True)]


@lru_cache(maxsize=4)
def load_decision(path: Path = BUNDLED_DECISION) -> Decision:
    """Read a decision from JSON; ModelError where it is none or asks for unknown evidence."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        trees = BoostedTrees.parse(stored, NAMES)
        return Decision(trees, float(stored["slope"]), float(stored["intercept"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelError(f"{path} is not a decision: {error}") from error


def explain(evidence: Evidence | None, is_copy: bool) -> str:
    """The decision's reason in words, with the figures that it rests on."""
    if evidence is None:
        return "no transform explains what the two pictures share"
    share = evidence["agree_weighted"]
    how = "pixels" if evidence["direct"] else f"{evidence['inliers']:.0f} features"
    where = f"{how} agree on one {evidence.alignment.model} transform"
    if evidence["direct"]:
        where = "laid over each other directly"
    if is_copy:
        return f"{where}; {share:.0%} of the shared structure agrees after alignment"
    return f"{where}, but {_objection(evidence)}"


def _objection(evidence: Evidence) -> str:
    share = evidence["agree_weighted"]
    covered = max(evidence["query_covered"], evidence["reference_covered"])
    if share > 0.5 and evidence["solidity"] < 0.5:
        return "what agrees surrounds other content: a shared background, template or frame"
    if evidence["mean_correlation"] > 0.5 and evidence["fine_correlation"] < 0.2 < share:
        return "the layout agrees and the details don't: one design with other words"
    if share > 0.4 and evidence["shift_spread_px"] > 0.6:
        return "parts are displaced by depth or movement: another photo of one scene"
    if covered < 0.2:
        return f"only {covered:.0%} of either picture agrees: a shared detail"
    shares = {
        "the shared structure": share,
        "its fine details": evidence["fine_share"],
        "either picture": covered,
    }
    weakest = min(shares, key=shares.__getitem__)
    if shares[weakest] < 0.5:
        return f"only {shares[weakest]:.0%} of {weakest} agrees after alignment"
    return "what agrees is too little, or too plain, to tell a copy from a look-alike"
