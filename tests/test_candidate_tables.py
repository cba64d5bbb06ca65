"""Candidates of parts, from neighbours and votes that can be checked by eye."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from copydetect import tables
from copydetect.candidates.candidate_job import CandidateJob, Proposals
from copydetect.candidates.fusion import CandidateOptions
from copydetect.candidates.pair_numbers import read_pairs
from copydetect.parts import RoleParts, Sides
from copydetect.search.neighbors import Neighbors, write_neighbors
from copydetect.search.vote_parts import write_votes
from copydetect.search.votes import Votes
from copydetect.types import ImageRow
from tests.conftest import STORAGE
from tests.steps_in_turn import write_candidates

PARTS = (["a", "b"], ["c", "d"])
VIEWS = ("whole", "on-black")
ANGLES = {"a": 0.0, "b": 0.3, "c": 0.9, "d": 2.0}
WEIGHTS = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}


def vectors_of(name: str) -> np.ndarray:
    """Two views of an image in the plane, a quarter of a radian apart."""
    angles = np.array([ANGLES[name], ANGLES[name] + 0.25])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)


def votes(*rows: tuple[int, int, float]) -> Votes:
    """(query, reference, votes), each with one pair of points that names them."""
    query, reference, values = zip(*rows, strict=True)
    points = [(q / 10, q / 10, r / 10, r / 10) for q, r, _ in rows]
    return Votes(
        np.array(query),
        np.array(reference),
        np.array(values, np.float32),
        np.zeros(len(rows), bool),
        np.ones(len(rows), np.int32),
        np.arange(len(rows) + 1),
        np.array(points, np.float32),
    )


class Scene:
    """The files of four images in two parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = tuple(self._images(part) for part in range(2))
        self.descriptors = tuple(self._descriptors(part) for part in range(2))

    def sides(self, described: bool = True, symmetric: bool = True) -> Sides:
        asked = RoleParts(self.images, (2, 2), self.descriptors if described else ())
        return Sides(asked, asked if symmetric else replace(asked, failures=("of references",)))

    def votes(self, *parts: Votes) -> tuple[str, ...]:
        uris = [str(self.folder / f"votes-{number}.npz") for number in range(len(parts))]
        for uri, part in zip(uris, parts, strict=True):
            write_votes(STORAGE, uri, part)
        return tuple(uris)

    def candidates(self, proposals: Proposals, k: int = 10) -> list[pa.Table]:
        folders = [str(self.folder / name) for name in ("candidates", "pairs", "scratch")]
        options = CandidateOptions(k, family=0)
        job = CandidateJob(STORAGE, proposals, options, *folders)
        uris = write_candidates(job)
        return [tables.read_table(STORAGE, uri) for uri in uris]

    def pairs(self, part: int) -> str:
        return str(self.folder / "pairs" / f"part-0000{part}.npz")

    def _images(self, part: int) -> str:
        rows = [
            ImageRow(name, "image", name, "", None, "PNG", 4, 3, 10, None, None, "ok")
            for name in PARTS[part]
        ]
        uri = str(self.folder / f"images-{part}")
        tables.write_table(STORAGE, uri, tables.rows_to_table(rows, tables.IMAGES))
        return uri

    def _descriptors(self, part: int) -> str:
        names = [name for name in PARTS[part] for _ in VIEWS]
        flat = np.concatenate([vectors_of(name) for name in PARTS[part]]).reshape(-1)
        table = pa.table(
            {
                "image_id": names,
                "view": list(VIEWS) * len(PARTS[part]),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat), 2),
                "weight": np.array([WEIGHTS[name] for name in names], np.float32),
                "model": ["m"] * len(names),
            },
            schema=tables.descriptors(2),
        )
        uri = str(self.folder / f"descriptors-{part}")
        tables.write_table(STORAGE, uri, table)
        return uri


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_votes_become_candidates_in_the_part_of_their_query(scene: Scene) -> None:
    found = scene.votes(votes((0, 3, 9.0), (1, 2, 5.0)), votes((2, 1, 5.0)))
    first, second = scene.candidates(Proposals((), found, scene.sides(False), VIEWS))
    assert first.schema.equals(tables.CANDIDATES)
    pairs = [
        frozenset((row["query_id"], row["reference_id"]))
        for table in (first, second)
        for row in table.to_pylist()
    ]
    assert sorted(map(sorted, pairs)) == [["a", "d"], ["b", "c"]]
    assert set(first["query_id"].to_pylist()) <= set(PARTS[0])
    assert set(second["query_id"].to_pylist()) <= set(PARTS[1])
    for name in ("similarity", "descriptor_score", "query_view", "reference_view"):
        assert first[name].to_pylist() == [None] * len(first)


def test_points_go_with_their_pair_from_its_own_side(scene: Scene) -> None:
    found = scene.votes(votes((0, 3, 9.0), (1, 2, 5.0)), votes((2, 0, 7.0), (3, 0, 9.0)))
    scene.candidates(Proposals((), found, scene.sides(False), VIEWS))
    seen = 0
    for part in range(2):
        pairs = read_pairs(STORAGE, scene.pairs(part))
        for row in range(len(pairs.query)):
            query, reference = pairs.query[row] / 10, pairs.reference[row] / 10
            points = pairs.points[pairs.starts[row] : pairs.starts[row + 1]]
            expected = np.float32([[query, query, reference, reference]])
            np.testing.assert_array_equal(points, expected)
            seen += 1
    assert seen == 3


def test_pairs_are_in_the_order_of_their_table(scene: Scene) -> None:
    found = scene.votes(votes((0, 1, 4.0), (0, 2, 9.0), (0, 3, 5.0)), votes((3, 1, 5.0)))
    parts = scene.candidates(Proposals((), found, scene.sides(False, False), VIEWS), k=2)
    names = [name for part in PARTS for name in part]
    for part, table in enumerate(parts):
        pairs = read_pairs(STORAGE, scene.pairs(part))
        assert [names[number] for number in pairs.query] == table["query_id"].to_pylist()
        assert [names[number] for number in pairs.reference] == table["reference_id"].to_pylist()
    assert parts[0]["reference_id"].to_pylist() == ["c", "d"]
    assert parts[0]["rank"].to_pylist() == [1, 2]


def test_the_best_views_speak_for_a_pair_and_similarity_is_the_cosine(scene: Scene) -> None:
    queries, ids, scores = [], [], []
    for query_view in range(2):
        for reference_view in range(2):
            queries.append(0 << 32 | query_view)
            ids.append(1 << 32 | reference_view)
            cosine = vectors_of("a")[query_view].astype(np.float32) @ vectors_of("b")[
                reference_view
            ].astype(np.float32)
            scores.append(cosine)
    order = np.lexsort((-np.array(scores), queries))
    columns = [np.array(values)[order] for values in (queries, ids)]
    uris = tuple(str(scene.folder / f"neighbors-{part}") for part in range(2))
    write_neighbors(STORAGE, uris[0], Neighbors(*columns, np.float32(scores)[order]))
    none = np.empty(0, np.int64)
    write_neighbors(STORAGE, uris[1], Neighbors(none, none, np.empty(0, np.float32)))
    proposals = Proposals(uris, (), scene.sides(symmetric=False), VIEWS)
    (row,) = scene.candidates(proposals)[0].to_pylist()
    assert (row["query_id"], row["reference_id"]) == ("a", "b")
    # a's second view, at 0.25, is nearest to b's first, at 0.3.
    assert (row["query_view"], row["reference_view"]) == ("on-black", "whole")
    assert row["similarity"] == pytest.approx(np.cos(0.05), abs=2e-3)
    assert row["votes"] is None


def test_nothing_proposed_gives_tables_without_rows(scene: Scene) -> None:
    parts = scene.candidates(Proposals((), (), scene.sides(False), VIEWS))
    assert [len(table) for table in parts] == [0, 0]
    assert all(table.schema.equals(tables.CANDIDATES) for table in parts)
