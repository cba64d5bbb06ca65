"""Neighbours as rows of hits against a plain loop; votes of a part against flat search."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from copydetect import tables
from copydetect.description.keypoints import extract, load_quantiser, quantise, reconstruct
from copydetect.errors import IndexFileError
from copydetect.index.channels import feature_ids, query_ids
from copydetect.parts import RoleParts
from copydetect.search.neighbors import Neighbors, write_neighbors
from copydetect.search.vote_parts import (
    hit_rows,
    most_neighbors,
    read_votes,
    vote_part,
    write_votes,
)
from copydetect.search.votes import Votes, query_features, vote
from copydetect.types import ImageRow, Keypoints
from tests.conftest import STORAGE
from tests.scenes import scene
from tests.test_channels import keypoint_table

FOUND = Neighbors(
    np.array([10, 10, 10, 30, 40, 40]),
    np.array([1, 2, 3, 4, 5, 6]),
    np.array([-1.0, -2.0, -4.0, -3.0, -0.5, -0.75], np.float32),
)


def plain_rows(
    found: Neighbors, queries: list[int], width: int
) -> tuple[list[list[int]], list[list[float]]]:
    ids, distances = [], []
    for query in queries:
        rows = np.flatnonzero(found.queries == query)
        near = (-found.scores[rows]).tolist()
        missing = width - len(rows)
        ids.append(found.ids[rows].tolist() + [-1] * missing)
        distances.append(near + [near[-1] if near else 0.0] * missing)
    return ids, distances


@pytest.mark.parametrize("queries", [[10, 20, 30, 40], [40, 10, 10], [5, 99], [99]])
@pytest.mark.parametrize("width", [3, 5])
def test_rows_of_hits_are_those_of_a_loop(queries: list[int], width: int) -> None:
    ids, distances = hit_rows(FOUND, np.array(queries), width)
    expected = plain_rows(FOUND, queries, width)
    assert ids.tolist() == expected[0]
    assert distances.tolist() == expected[1]


def test_no_neighbours_and_no_queries() -> None:
    nothing = Neighbors(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    assert hit_rows(nothing, np.array([3]), 2)[0].tolist() == [[-1, -1]]
    assert hit_rows(FOUND, np.empty(0, np.int64), 3)[0].shape == (0, 3)
    assert most_neighbors(nothing) == 0
    assert most_neighbors(FOUND) == 3


def small_keypoints() -> list[Keypoints]:
    """Two scenes, a crop of the first, and a picture without features."""
    first = scene(3, 240, 180)
    pictures = [first, scene(4, 240, 180), first[20:160, 30:220], np.zeros((90, 120, 3), np.uint8)]
    return [
        quantise(extract(np.ascontiguousarray(picture)), load_quantiser(), f"{number}")
        for number, picture in enumerate(pictures)
    ]


def test_votes_of_a_part_are_those_of_flat_search(tmp_path: Path) -> None:
    points = small_keypoints()
    images = [
        ImageRow(str(n), "image", str(n), "", None, "PNG", 4, 3, 10, None, None, "ok")
        for n in range(len(points))
    ]
    uris = [str(tmp_path / name) for name in ("images.parquet", "keypoints.parquet")]
    tables.write_table(STORAGE, uris[0], tables.rows_to_table(images, tables.IMAGES))
    tables.write_table(STORAGE, uris[1], keypoint_table(points))

    numbers = list(range(len(points)))
    features, vectors = query_features(numbers, points, load_quantiser())
    flat = faiss.IndexFlatL2(vectors.shape[1])
    references = np.concatenate([reconstruct(one.codes, load_quantiser()) for one in points])
    flat.add(references)
    known = np.concatenate([feature_ids(number, points[number]) for number in numbers])
    distances, rows = flat.search(vectors, 6)
    ids = known[rows]

    found = str(tmp_path / "neighbors")
    queries = np.repeat(query_ids(numbers, points), 6)
    order = np.argsort(queries, kind="stable")
    hits = Neighbors(queries[order], ids.ravel()[order], -distances.ravel()[order])
    write_neighbors(STORAGE, found, hits)
    files = RoleParts((uris[0],), (len(points),), keypoints=(uris[1],))
    votes = vote_part(STORAGE, files, 0, found, exclude_self=True)
    expected = vote(features, ids, distances, exclude_self=True)
    best = {int(q): int(r) for q, r in zip(votes.query[::-1], votes.reference[::-1], strict=True)}
    assert (best[0], best[2]) == (2, 0)
    assert 3 not in votes.query
    np.testing.assert_array_equal(votes.query, expected.query)
    np.testing.assert_array_equal(votes.reference, expected.reference)
    np.testing.assert_allclose(votes.votes, expected.votes, rtol=1e-5)


def test_votes_survive_their_file_and_damage_is_named(tmp_path: Path) -> None:
    votes = Votes(
        np.array([1, 1]),
        np.array([2, 3]),
        np.array([2.0, 1.0], np.float32),
        np.array([False, True]),
        np.array([4, 2], np.int32),
        np.array([0, 1, 3]),
        np.arange(12, dtype=np.float32).reshape(3, 4),
    )
    uri = str(tmp_path / "votes.npz")
    write_votes(STORAGE, uri, votes)
    for name, values in vars(read_votes(STORAGE, uri)).items():
        np.testing.assert_array_equal(values, getattr(votes, name))
    Path(uri).write_bytes(Path(uri).read_bytes()[:-20])
    with pytest.raises(IndexFileError, match=r"votes\.npz"):
        read_votes(STORAGE, uri)
