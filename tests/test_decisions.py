"""The stored decision: read as written, refused where it is none, right in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from copydetect.errors import ModelError
from copydetect.verification.decisions import explain, load_decision
from copydetect.verification.evidence import NAMES, Evidence
from copydetect.verification.geometry import Alignment

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
    assert decision.trees.sums(evidence(inliers)[None])[0] == pytest.approx(0.5 + leaf)
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


@pytest.mark.parametrize("agrees", [1.0, 0.98, 0.7, 0.3])
def test_a_refusal_names_what_was_too_little(agrees: float) -> None:
    """Never "but only 98 %": a share is named where it is small."""
    values = np.full(len(NAMES), np.nan, np.float32)
    whole = ("fine_share", "query_covered", "reference_covered", "solidity", "fine_correlation")
    for name in whole:
        values[NAMES.index(name)] = 0.9
    for name, value in {"agree_weighted": agrees, "direct": 0, "inliers": 12}.items():
        values[NAMES.index(name)] = value
    alignment = Alignment(np.eye(3), "affine", False, 12, 20, 1.0, np.zeros((12, 2), np.float32))
    found = Evidence(values, alignment, None, None)  # type: ignore[arg-type]
    said = explain(found, is_copy=False)
    assert ("only" in said) == (agrees < 0.5)
    assert "100%" not in said
