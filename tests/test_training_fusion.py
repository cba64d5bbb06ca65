"""The weights of both channels, on copies that are planted in one or the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from copydetect import tables
from copydetect.candidates.fusion import LocalPairs
from copydetect.edits.copies import COPIES
from copydetect.errors import InputError
from copydetect.pipelines import recipes
from copydetect.search.vote_parts import write_votes
from copydetect.search.votes import Votes
from copydetect.storage.files import LocalStorage
from copydetect.training import fusion
from copydetect.training.fusion import Study, fit_fusion, read_study, surpluses_of

STORAGE = LocalStorage()
ORIGINALS, COPIED, DIMENSION = 200, 80, 32


def unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def planted(noise: float, vote: float) -> Study:
    """Copies behind their originals; noise: of their descriptors; vote: for the right original."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(ORIGINALS, DIMENSION))
    copies = vectors[:COPIED] + noise * rng.normal(size=(COPIED, DIMENSION))
    query = np.repeat(np.arange(ORIGINALS, ORIGINALS + COPIED), 41)
    strangers = rng.integers(0, ORIGINALS, (COPIED, 40))
    reference = np.column_stack([np.arange(COPIED), strangers])
    strengths = np.column_stack([np.full(COPIED, vote), rng.exponential(0.02, (COPIED, 40))])
    pairs = {}
    for key, value in zip(
        zip(query, reference.ravel(), strict=True), strengths.ravel(), strict=True
    ):
        pairs.setdefault(key, value)
    ends = np.array(list(pairs), np.int64)
    votes = LocalPairs(ends[:, 0], ends[:, 1], np.array(list(pairs.values()), np.float32))
    originals = np.concatenate([np.arange(ORIGINALS), np.arange(COPIED)])
    return Study(originals, unit(np.concatenate([vectors, copies])), votes)


def test_a_channel_weighs_what_it_knows() -> None:
    by_descriptor = fit_fusion(*surpluses_of(planted(noise=0.5, vote=0.02)))
    by_votes = fit_fusion(*surpluses_of(planted(noise=50.0, vote=0.5)))
    assert by_descriptor.descriptor > 2 * abs(by_descriptor.local)
    assert by_votes.local > 2 * abs(by_votes.descriptor)


def test_scores_are_the_logarithm_of_the_odds() -> None:
    pairs, labels = surpluses_of(planted(noise=1.2, vote=0.08))
    assert labels.sum() == COPIED
    assert len({*zip(pairs.query.tolist(), pairs.reference.tolist(), strict=True)}) == len(labels)
    scores = fit_fusion(pairs, labels).scores((pairs.descriptor, pairs.local))
    assert (1 / (1 + np.exp(-scores.astype(float)))).sum() == pytest.approx(COPIED, rel=0.01)


def test_a_study_without_copies_teaches_nothing() -> None:
    pairs, labels = surpluses_of(planted(noise=1.0, vote=0.1))
    with pytest.raises(InputError, match="copies and strangers"):
        fit_fusion(pairs, np.zeros(len(labels), bool))


def test_a_study_is_read_as_calibrate_left_it(tmp_path: Path) -> None:
    run = tmp_path / "run-1"
    names = ["a.jpg", "b.jpg", "mild/a.jpg.0.jpg"]
    images = pa.table({"image_id": names})
    vectors = np.eye(3, 4, dtype=np.float16)[[2, 0]]
    described = pa.table(
        {
            "image_id": [names[2], names[0]],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 4),
            "weight": np.ones(2, np.float32),
        }
    )
    copy = {"query_id": "a.jpg.0.jpg", "reference_id": "a.jpg", "edits": "crop"}
    copies = pa.Table.from_pylist([copy | {"transform": [], "region": []}], schema=COPIES)
    for name, table in (
        ("images/image-00000", images),
        ("descriptors/image-00000", described),
        ("edits/mild/copies/part-00000", copies),
    ):
        tables.write_table(STORAGE, f"{run}/{name}.parquet", table)
    with pytest.raises(InputError, match="must hold what one run"):
        read_study(tmp_path)
    ends = np.array([2]), np.array([1]), np.array([0.3], np.float32)
    hits = np.array([False]), np.array([3], np.int32)
    votes = Votes(*ends, *hits, np.array([0, 0]), np.empty((0, 4), np.float32))
    write_votes(STORAGE, f"{run}/search/keypoints/votes/part-00000.npz", votes)
    study = read_study(tmp_path)
    assert study.originals.tolist() == [0, 1, 0]
    assert study.is_copy.tolist() == [False, False, True]
    np.testing.assert_array_equal(study.vectors, [np.eye(4)[0], np.zeros(4), np.eye(4)[2]])
    assert study.votes.query.tolist() == [2]


def test_the_command_says_what_to_write_down(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fusion, "read_study", lambda _: planted(noise=1.2, vote=0.08))
    assert recipes.main(["fusion", "folder"]) == 0
    assert "80 copies among" in (printed := capsys.readouterr().out)
    assert "Fusion(-" in printed
