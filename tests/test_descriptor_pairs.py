"""Pairs of descriptors: the search's own, and exact cosines of what the other channel proposes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from copydetect import tables
from copydetect.candidates.descriptor_pairs import joined, neighbor_pairs, proposed_pairs
from copydetect.candidates.mapped_tables import (
    DescribedSide,
    load_described_side,
    write_described_part,
    write_described_side,
)
from copydetect.parts import RoleParts
from copydetect.search.neighbors import Neighbors
from copydetect.storage.files import LocalStorage

STORAGE = LocalStorage()
IMAGES, VIEWS, DIMENSION = 7, 2, 8


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory) -> DescribedSide:
    """Seven images of two views in two parts."""
    folder = tmp_path_factory.mktemp("side")
    rng = np.random.default_rng(5)
    images, channel, start = [], [], 0
    for part, count in enumerate((4, 3)):
        ids = [f"{start + i}.jpg" for i in range(count)]
        vectors = rng.normal(size=(count * VIEWS, DIMENSION))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        flat = pa.array(vectors.astype(np.float16).reshape(-1))
        table = pa.table(
            {
                "image_id": np.repeat(ids, VIEWS),
                "view": ["whole", "on-black"] * count,
                "vector": pa.FixedSizeListArray.from_arrays(flat, DIMENSION),
                "weight": rng.random(count * VIEWS).astype(np.float32),
                "model": ["m"] * (count * VIEWS),
            },
            schema=tables.descriptors(DIMENSION),
        )
        images.append(str(folder / f"images-{part}.parquet"))
        channel.append(str(folder / f"descriptors-{part}.parquet"))
        tables.write_table(STORAGE, images[-1], pa.table({"image_id": ids}))
        tables.write_table(STORAGE, channel[-1], table)
        start += count
    files = RoleParts(tuple(images), (4, 3), descriptors=tuple(channel))
    place = str(folder / "side")
    counts = [write_described_part(STORAGE, files, part, place) for part in range(2)]
    write_described_side(STORAGE, place, counts)
    return load_described_side(STORAGE, place)


def cosine(side: DescribedSide, one: int, other: int) -> float:
    vectors = side.vectors(np.array([one, other]))
    return float(vectors[0] @ vectors[1])


def test_ids_are_ascending_and_known(side: DescribedSide) -> None:
    assert (np.diff(side.ids) > 0).all()
    assert side.ids.tolist() == [i << 32 | view for i in range(IMAGES) for view in range(VIEWS)]
    assert side.has(np.array([3 << 32, 99 << 32])).tolist() == [True, False]
    assert side.rows(np.array([3 << 32 | 1])).tolist() == [7]


def test_the_best_views_of_a_pair_its_cosine_and_its_weight(side: DescribedSide) -> None:
    query = np.array([0, 0, 1, 0], np.int64)  # rows of the side: image 0 twice, and on black
    reference = np.array([4, 5, 4, 8], np.int64)
    cosines = np.float32(
        [cosine(side, int(q), int(r)) for q, r in zip(query, reference, strict=True)]
    )
    scores = cosines * (side.weights[query] * side.weights[reference])
    found = Neighbors(side.ids[query], side.ids[reference], cosines)
    pairs, views = neighbor_pairs(found, side, side)
    assert pairs.query.tolist() == [0, 0]
    assert pairs.reference.tolist() == [2, 4]
    best = int(np.argmax(scores[:3]))
    assert pairs.score[0] == scores[best]
    assert pairs.similarity[0] == pytest.approx(cosines[best], abs=1e-6)
    assert views[0].tolist() == [int(query[best]) % 2, int(reference[best]) % 2]


def test_what_votes_propose_gets_its_exact_cosine_once(side: DescribedSide) -> None:
    found = Neighbors(side.ids[[0]], side.ids[[4]], np.array([0.5], np.float32))
    known = neighbor_pairs(found, side, side)
    votes = np.array([0, 0, 6], np.int64), np.array([2, 3, 99], np.int64)
    new = proposed_pairs(votes, known[0], side, side)
    assert (new[0].query.tolist(), new[0].reference.tolist()) == ([0], [3])
    assert new[0].similarity[0] == pytest.approx(cosine(side, 0, 6), abs=1e-6)
    weight = side.weights[0] * side.weights[6]
    assert new[0].score[0] == pytest.approx(cosine(side, 0, 6) * weight, abs=1e-6)
    assert new[1].tolist() == [[0, 0]]
    together, views = joined(known, new)
    assert together.reference.tolist() == [2, 3]
    assert len(views) == 2
