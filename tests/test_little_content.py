"""Pictures with few local features that are alike are looked at, however crowded it is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from copydetect import tables
from copydetect.candidates import candidate_job
from copydetect.candidates.candidate_job import CandidateJob
from copydetect.candidates.fusion import CandidateOptions
from copydetect.description.keypoints import FEW_FEATURES
from copydetect.parts import Sides
from tests.conftest import STORAGE
from tests.steps_in_turn import write_candidates
from tests.test_merging import IMAGES, Found, job_of, together

ICONS = 20
LEAST = -6.9


def found() -> Found:
    """Every second of the first images is of one set, the others are strangers."""
    rng = np.random.default_rng(8)
    vectors = rng.normal(size=(IMAGES, 64))
    vectors[: 2 * ICONS : 2] = 8 * np.eye(64)[0] + rng.normal(size=(ICONS, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return replace(
        Found.with_a_family(0),
        vectors=vectors.astype(np.float16),
        neighbors=neighbors_of(vectors.astype(np.float32)),
    )


def neighbors_of(vectors: np.ndarray) -> object:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :50]
    values = np.take_along_axis(scores, nearest, axis=1).ravel()
    neighbors = Found.with_a_family(0).neighbors
    query = np.repeat(np.arange(IMAGES), 50)
    return replace(neighbors, queries=query << 32, ids=nearest.ravel() << 32, scores=values)


def candidates(
    folder: Path, features: int, parts: int = 3, least_score: float = -np.inf
) -> dict[tuple[str, str], float]:
    """Scores by pair; features: of each image of the set, others have enough."""
    folder.mkdir()
    job = with_features(job_of(folder, found(), parts, symmetric=True), folder, features)
    job = replace(job, options=CandidateOptions(k=2, family=60, least_score=least_score))
    table, _ = together(job, write_candidates(job))
    names = (table[name].to_pylist() for name in ("query_id", "reference_id", "score"))
    return {(one, other): score for one, other, score in zip(*names, strict=True)}


def with_features(job: CandidateJob, folder: Path, features: int) -> CandidateJob:
    side, uris = job.proposals.queries, []
    for part, images in enumerate(side.image_files):
        ids = tables.read_table(STORAGE, images, ["image_id"])["image_id"].to_pylist()
        counts = [features if of_the_set(image_id) else FEW_FEATURES for image_id in ids]
        flat = [[0] * count for count in counts]
        columns = dict.fromkeys(("x", "y", "scale", "angle"), pa.array(flat, pa.list_(pa.uint8())))
        columns |= {"image_id": ids, "codes": [b""] * len(ids), "model": ["m"] * len(ids)}
        columns |= dict.fromkeys(("width_px", "height_px"), pa.array([9] * len(ids), pa.int16()))
        uris.append(str(folder / f"keypoints-{part}"))
        table = pa.table({name: columns[name] for name in tables.KEYPOINTS.names})
        tables.write_table(STORAGE, uris[-1], table.cast(tables.KEYPOINTS))
    asked = replace(side, keypoints=tuple(uris))
    return replace(job, proposals=replace(job.proposals, sides=Sides(asked, asked)))


def of_the_set(image_id: str) -> bool:
    number = int(image_id.removesuffix(".jpg"))
    return number < 2 * ICONS and number % 2 == 0


def alike() -> set[tuple[str, str]]:
    """Pairs of the set that are near to each other."""
    vectors = found().vectors.astype(np.float32)
    near = zip(*np.nonzero(np.triu(vectors @ vectors.T > 0.31, 1)), strict=True)
    pairs = {(f"{one:03d}.jpg", f"{other:03d}.jpg") for one, other in near}
    return {pair for pair in pairs if all(map(of_the_set, pair))}


def low(scores: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Pairs of the set that are not verified."""
    return {
        pair: score
        for pair, score in scores.items()
        if all(map(of_the_set, pair)) and score < LEAST
    }


def test_all_pairs_of_a_set_with_few_features_are_verified(tmp_path: Path) -> None:
    few = candidates(tmp_path / "few", FEW_FEATURES - 1)
    enough = candidates(tmp_path / "enough", FEW_FEATURES)
    assert alike() <= few.keys()
    assert not low(few).keys() & alike()
    assert low(enough).keys() & alike() or alike() - enough.keys()
    others = [pair for pair in few if not any(map(of_the_set, pair))]
    assert all(few[pair] == enough[pair] for pair in others)


@pytest.mark.parametrize(("parts", "least"), [(1, -np.inf), (5, -np.inf), (3, LEAST)])
def test_parts_and_a_least_score_change_nothing(
    tmp_path: Path, parts: int, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_job, "_LEAST_BLOCKS", 3)
    monkeypatch.setattr(candidate_job, "_LEAST_BLOCK_IMAGES", 1)
    wanted, made = (
        {pair: score for pair, score in found.items() if score >= LEAST}
        for found in (
            candidates(tmp_path / "plain", 0),
            candidates(tmp_path / "other", 0, parts, least),
        )
    )
    assert made == wanted
