"""Relations against a truth that has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from copydetect.errors import InputError
from copydetect.evaluation.ground_truth import PairTruth, read_truth
from copydetect.evaluation.relations import relation_figures
from copydetect.storage.files import LocalStorage

TRUTH = """query_id,reference_id,relation
a,b,edited
a,c,same_scene
b,c,none
a,d,none
"""


def test_relations_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    file.write_text(TRUTH, encoding="utf-8")
    truth = read_truth(LocalStorage(), str(file))
    assert isinstance(truth, PairTruth)
    assert truth.pairs == [("a", "b")]
    told = [("b", "a", "edited"), ("a", "c", "edited"), ("b", "c", "same_layout")]
    figures = relation_figures(told, truth.relations)
    assert figures["right"] == {"edited": 1.0, "same_scene": 0.0, "none": 0.5}
    assert figures["mean"] == pytest.approx(0.5)
    assert figures["others_called_copies"] == 1


def test_an_unknown_relation_is_named(tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    file.write_text(TRUTH.replace("same_scene", "cousin"), encoding="utf-8")
    with pytest.raises(InputError, match="cousin"):
        read_truth(LocalStorage(), str(file))
