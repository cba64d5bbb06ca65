"""Crowds of copies: the work on them is bounded, and they stay together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from copydetect.candidates.fusion import CandidateOptions
from copydetect.index.partitions import IndexOptions
from copydetect.search.neighbors import Neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.votes import Votes
from tests.collections_for_search import Collection, joined
from tests.steps_in_turn import write_candidates
from tests.test_merging import Found, job_of, together

LIKELY_COPY = 0.8
SEARCH = SearchOptions(k=50, exclude="image", connect_score=LIKELY_COPY, capped_score=LIKELY_COPY)
NO_VOTES = Votes(
    *(np.empty(0, kind) for kind in (np.int64, np.int64, np.float32, bool, np.int32)),
    starts=np.zeros(1, np.int64),
    points=np.empty((0, 4), np.float32),
)


def crowd(middles: np.ndarray, each: int, spread: float) -> np.ndarray:
    """Images around some middles: (middles · each, d) unit vectors, float16."""
    rng = np.random.default_rng(0)
    vectors = np.repeat(middles, each, axis=0)
    vectors = vectors + spread * rng.normal(size=vectors.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def found_in(folder: Path, vectors: np.ndarray, index: IndexOptions) -> Neighbors:
    ids = np.arange(len(vectors)) << 32
    return joined(folder, Collection(vectors.astype(np.float32), ids, 4), index, SEARCH)


def candidates(
    folder: Path, vectors: np.ndarray, found: Neighbors, connect_similarity: float
) -> np.ndarray:
    """(n, 2) pairs of images that are candidates, of descriptors only."""
    searched = Found(vectors, np.ones(len(vectors), np.float32), found, NO_VOTES)
    job = job_of(folder, searched, 5, symmetric=True)
    job = replace(
        job,
        proposals=replace(job.proposals, votes=()),
        options=CandidateOptions(connect_similarity=connect_similarity),
    )
    table, _ = together(job, write_candidates(job))
    columns = (table[name].to_pylist() for name in ("query_id", "reference_id"))
    return np.array([[int(name[:-4]) for name in names] for names in columns]).T


def crowds(pairs: np.ndarray, images: int) -> np.ndarray:
    """(images,) the lowest number that an image is connected to."""
    leader = np.arange(images)
    for _ in range(60):
        np.minimum.at(leader, pairs[:, 0], leader[pairs[:, 1]])
        np.minimum.at(leader, pairs[:, 1], leader[pairs[:, 0]])
    return leader


def test_ten_thousand_near_identical_images_stay_one_crowd(tmp_path: Path) -> None:
    middle = np.eye(1, 16)
    vectors = np.concatenate([crowd(middle, 10_000, 0.002), crowd(np.eye(16), 60, 0.5)])
    vectors[:5000] = vectors[0]  # half of them quite the same: one list that cannot be split
    index = IndexOptions(lists=40, probes=12, shard_bytes=1 << 16)
    found = found_in(tmp_path / "index", vectors, index)
    assert 10_000 <= found.saturated < 10_300
    pairs = candidates(tmp_path, vectors, found, LIKELY_COPY)
    assert np.unique(crowds(pairs, len(vectors))[:10_000]).size == 1
    assert len(pairs) < (CandidateOptions().family + 1) * len(vectors)


@pytest.mark.parametrize(("connect_similarity", "whole"), [(LIKELY_COPY, True), (np.inf, False)])
def test_kinds_of_copies_that_are_nearest_to_their_own_stay_together(
    tmp_path: Path, connect_similarity: float, whole: bool
) -> None:
    # Eight edits of one picture, each saved sixty times: .9 from one another.
    kinds = 3 * np.eye(1, 16)[[0] * 8] + np.eye(9, 16)[1:]
    vectors = crowd(kinds / np.sqrt(10), 60, 0.001)
    found = found_in(tmp_path / "index", vectors, IndexOptions())
    pairs = candidates(tmp_path, vectors, found, connect_similarity)
    assert (np.unique(crowds(pairs, len(vectors))).size == 1) == whole
    assert len(pairs) < (CandidateOptions().family + 1) * len(vectors)
