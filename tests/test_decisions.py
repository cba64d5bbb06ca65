"""The stored decision: read as written, refused where it is none, right in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from copydetect.errors import ModelError
from copydetect.verification.decisions import load_decision
from copydetect.verification.evidence import NAMES

STUMP = {
    "feature": [0, 0, 0],
    "threshold": [5.0, 0, 0],
    "left": [1, 1, 2],
    "right": [2, 1, 2],
    "value": [0, -2.0, 3.0],
    "unknown_left": [1, 0, 0],
}


def write(path: Path, **changes: object) -> Path:
    stored: dict[str, object] = {
        "inputs": ["inliers"],
        "depth": 1,
        "bias": 0.5,
        "trees": [STUMP],
        "slope": 2.0,
        "intercept": 1.0,
    }
    path.write_text(json.dumps(stored | changes), encoding="utf-8")
    return path


def evidence(inliers: float) -> np.ndarray:
    values = np.full(len(NAMES), np.nan, np.float32)
    values[NAMES.index("inliers")] = inliers
    return values


@pytest.mark.parametrize(("inliers", "leaf"), [(5, -2), (5.5, 3), (np.nan, -2)])
def test_a_stump_by_hand(tmp_path: Path, inliers: float, leaf: float) -> None:
    decision = load_decision(write(tmp_path / "stump.json"))
    assert decision.raw(evidence(inliers)[None])[0] == pytest.approx(0.5 + leaf)
    expected = 1 / (1 + np.exp(-(2 * (0.5 + leaf) + 1)))
    assert decision.confidences(evidence(inliers)[None])[0] == pytest.approx(expected)


def test_no_decision_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.json"):
        load_decision(tmp_path / "nothing.json")
    (tmp_path / "text.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match=r"text\.json"):
        load_decision(tmp_path / "text.json")
    with pytest.raises(ModelError, match=r"other\.json"):
        load_decision(write(tmp_path / "other.json", inputs=["age"]))


def test_more_agreement_never_lowers_the_bundled_confidence() -> None:
    """What the training promises: the trees are monotonic in what speaks for a copy."""
    decision = load_decision()
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.uniform(0, 1, len(NAMES)).astype(np.float32)
        more = values.copy()
        for name in ("agree_weighted", "mean_correlation", "agree_share"):
            more[NAMES.index(name)] += 0.3
        more[NAMES.index("inliers")] += 20
        lower, higher = decision.confidences(np.stack([values, more]))
        assert higher >= lower - 1e-9
