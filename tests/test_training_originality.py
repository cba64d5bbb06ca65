"""The weights of originality are fitted on groups whose original is known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from copydetect.errors import InputError
from copydetect.grouping.originality import SIGNS
from copydetect.pipelines import recipes
from copydetect.results import Result
from copydetect.training.originality import (
    LabelledGroup,
    cross_validated,
    fit_weights,
    groups_of,
    kept_originals,
)
from tests.conftest import STORAGE, Planted, Run

NAMES = [sign.name for sign in SIGNS]


def planted_groups(count: int, seed: int = 0) -> list[LabelledGroup]:
    """Originals often have a camera's data; copies are often enlarged; all else is chance."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        signs = (rng.random((3, len(SIGNS))) < 0.2).astype(float)
        signs[:, NAMES.index("camera")] = rng.random(3) < [0.8, 0.1, 0.1]
        signs[:, NAMES.index("enlarged")] = rng.random(3) < [0.05, 0.6, 0.6]
        order = rng.permutation(3)
        found.append(LabelledGroup(signs[order], order == 0))
    return found


def test_what_tells_originals_gets_the_weight() -> None:
    weights = fit_weights(planted_groups(900))
    assert weights[NAMES.index("camera")] > 2
    assert weights[NAMES.index("enlarged")] < -1.5
    others = np.delete(weights, [NAMES.index("camera"), NAMES.index("enlarged")])
    assert np.abs(others).max() < 0.8
    unseen = kept_originals(planted_groups(200, seed=1), weights)
    assert unseen.groups == 200
    assert unseen.right > 160
    assert unseen.wrong <= 0.05 * unseen.certain
    assert kept_originals(planted_groups(200, seed=1), -weights).right < 40


def test_cross_validation_learns_nothing_from_chance() -> None:
    rng = np.random.default_rng(3)
    chance = [
        LabelledGroup(rng.normal(size=(4, len(SIGNS))), np.arange(4) == rng.integers(4))
        for _ in range(60)
    ]
    assert kept_originals(chance, fit_weights(chance)).right > cross_validated(chance).right
    assert cross_validated(planted_groups(100)).right > 70


def test_no_groups_no_weights() -> None:
    with pytest.raises(InputError, match="no group of a known original"):
        fit_weights([])


def test_groups_of_a_run(
    run: Run, planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = tmp_path / "truth.csv"
    originals = {
        copy: min(group, key=len)
        for group in planted.groups
        for copy in group
        if copy != min(group, key=len)
    }
    with truth.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["query_id", "reference_id"])
        writer.writerows(originals.items())
    result = Result(STORAGE, str(run.output), run.manifest)
    groups = groups_of(result, str(truth))
    assert 1 <= len(groups) <= len(set(originals.values()))
    assert all(group.original.sum() == 1 and len(group.original) > 1 for group in groups)
    assert recipes.main(["originality", str(run.output), str(truth)]) == 0
    said = capsys.readouterr().out
    assert f"of {len(groups)} groups" in said
    assert "camera" in said
    assert recipes.main(["originality", str(run.output)]) == 1
