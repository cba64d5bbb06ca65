"""evidence → the probability that a pair are copies, and the reason in words."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from copydetect.errors import ModelError
from copydetect.evidence import NAMES, Evidence

BUNDLED_DECISION = Path(__file__).with_name("models") / "decision-pairs.json"
_PLAIN = ("kind", "inputs", "bias", "weights", "centres", "scales")


@dataclass(frozen=True, eq=False)
class LogisticDecision:
    """P(copy) = σ(bias + weights · ((values − centres) / scales)), unknown values counting as 0.

    inputs: (n,) positions in an evidence vector; weights, centres, scales: (n,) float64.
    """

    inputs: npt.NDArray[np.int64]
    bias: float
    weights: npt.NDArray[np.float64]
    centres: npt.NDArray[np.float64]
    scales: npt.NDArray[np.float64]

    def confidence(self, values: npt.NDArray[np.float32]) -> float:
        """Probability in [0, 1] for one evidence vector."""
        standard = (values[self.inputs].astype(np.float64) - self.centres) / self.scales
        logit = self.bias + float(self.weights @ np.nan_to_num(np.clip(standard, -4, 4)))
        return 1 / (1 + math.exp(-max(min(logit, 60.0), -60.0)))


@lru_cache(maxsize=4)
def load_decision(path: Path = BUNDLED_DECISION) -> LogisticDecision:
    """Read a decision from JSON; ModelError where the file is none or asks for unknown evidence."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in _PLAIN if key not in stored]
        unknown = [name for name in stored.get("inputs", []) if name not in NAMES]
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"cannot read the decision {path}: {error}") from error
    if missing or unknown:
        raise ModelError(f"{path} is no decision: missing {missing}, unknown evidence {unknown}")
    return LogisticDecision(
        np.array([NAMES.index(name) for name in stored["inputs"]]),
        float(stored["bias"]),
        *(np.array(stored[key], np.float64) for key in ("weights", "centres", "scales")),
    )


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
    return f"only {share:.0%} of the shared structure agrees after alignment"
