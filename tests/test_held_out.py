"""The set of look-alikes: what it says of its pairs is so, and the same seed makes the same set."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from copydetect.errors import InputError
from copydetect.evaluation.ground_truth import PairTruth, read_truth
from copydetect.training.held_out import KINDS, write_look_alikes
from copydetect.types import COPY_RELATIONS
from tests.conftest import STORAGE
from tests.scenes import scene

PICTURES = [scene(seed, 240, 180) for seed in range(12)]


def test_a_set_is_written_as_evaluate_reads_it(tmp_path: Path) -> None:
    pairs = write_look_alikes(PICTURES, tmp_path / "one", each=1)
    truth = read_truth(STORAGE, str(tmp_path / "one" / "truth.csv"))
    assert isinstance(truth, PairTruth)
    assert len(truth.relations) == pairs
    others = {one for one in truth.relations.values() if one not in COPY_RELATIONS}
    assert others == {"changed_content", "same_layout", "same_scene"}
    assert write_look_alikes(PICTURES, tmp_path / "again", each=1) == pairs
    for path in (tmp_path / "one" / "images").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / "images" / path.name).read_bytes()
    with (tmp_path / "one" / "truth.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name in (row["query_id"], row["reference_id"]):
                assert cv2.imread(str(tmp_path / "one" / "images" / name)) is not None


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_look_alikes_differ_where_they_should(kind: str) -> None:
    """Something differs plainly, and not everything does."""
    first, alikes = KINDS[kind](np.random.default_rng(3), PICTURES)
    for _, _, other in alikes:
        assert other.shape == first.shape
        apart = cv2.absdiff(first, other).max(axis=2) > 40
        assert 0.0004 < apart.mean() < 0.9


def test_too_few_pictures_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 pictures could be read; 12 are needed"):
        write_look_alikes(PICTURES[:3], tmp_path)
