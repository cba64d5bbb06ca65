"""The recipe of the decision: what it is measured on is what it has not seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from copydetect.training.decision import FOLDS, fit, inputs, train
from copydetect.training.labelled_pairs import PairOptions
from copydetect.verification.decisions import load_decision
from copydetect.verification.evidence import NAMES
from tests.scenes import scene

_TELLING = NAMES.index("agree_weighted")


def drawn(pairs: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Evidence in which one number tells copies, on the best of one or two alignments."""
    rng = np.random.default_rng(seed)
    copies = rng.random(pairs) < 0.4
    evidence = []
    for is_copy in copies:
        vectors = rng.random((int(rng.integers(1, 3)), len(NAMES))).astype(np.float32)
        vectors[:, _TELLING] *= 0.5
        if is_copy:
            vectors[-1, _TELLING] += 0.45
        evidence.append(vectors)
    return evidence, copies


def test_what_tells_copies_is_learnt(tmp_path: Path) -> None:
    evidence, copies = drawn(600, 1)
    made = fit(evidence, copies, np.arange(600) % FOLDS)
    assert made["inputs"] == inputs()
    assert made["unseen"]["copies"] == copies.sum()
    assert made["unseen"]["micro_ap"] > 0.95
    path = tmp_path / "decision.json"
    path.write_text(json.dumps(made), encoding="utf-8")
    others, labels = drawn(200, 2)
    decision = load_decision(path)
    best = np.array([decision.confidences(vectors).max() for vectors in others])
    assert ((best > 0.5) == labels).mean() > 0.9


def test_a_pair_without_any_alignment_counts_as_not_found() -> None:
    evidence, copies = drawn(400, 3)
    lost = np.flatnonzero(copies)[:20]
    for row in lost:
        evidence[row] = np.zeros((0, len(NAMES)), np.float32)
    made = fit(evidence, copies, np.arange(400) % FOLDS)
    assert made["unseen"]["recall at precision 0.9"] <= 1 - 20 / copies.sum() + 1e-4


@pytest.mark.parametrize("collections", [1, 2])
def test_from_pictures_to_a_decision(collections: int) -> None:
    pictures = [scene(seed, 200, 160) for seed in range(40)]
    options = PairOptions(originals=10, made_look_alikes=12, shortest_px=120, longest_px=200)
    given = [pictures[number::collections] for number in range(collections)]
    made = train(given, options, 0)
    assert made["unseen"]["copies"] >= 5 * collections
    assert len(made["trees"]) == 140
