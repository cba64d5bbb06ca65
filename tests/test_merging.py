"""Candidates merged part by part are those of all pairs at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from copydetect import tables
from copydetect.candidates import candidate_job, density_steps, merging
from copydetect.candidates.candidate_job import CandidateJob, Proposals
from copydetect.candidates.densities import similarity_densities, vote_densities
from copydetect.candidates.fusion import (
    CandidateOptions,
    DescriptorPairs,
    LocalPairs,
    merge_pairs,
)
from copydetect.candidates.pair_numbers import PairNumbers, read_pairs
from copydetect.candidates.pair_spills import PairRows
from copydetect.index import spills
from copydetect.parts import RoleParts, Sides
from copydetect.search.neighbors import Neighbors, write_neighbors
from copydetect.search.vote_parts import write_votes
from copydetect.search.votes import Votes
from copydetect.sorted_rows import ranges
from copydetect.transforms.neighbors_to_candidates import NeighborsToCandidates
from tests.conftest import STORAGE
from tests.steps_in_turn import write_candidates

IMAGES, DIMENSION, NEIGHBORS, VOTED = 120, 16, 24, 9
ENDS = ("query_id", "reference_id")
OPTIONS = CandidateOptions(k=4, min_score=6.0, family=0)


@dataclass
class Found:
    """What a search of 120 images for themselves found: vectors, weights, neighbours and votes."""

    vectors: np.ndarray
    weights: np.ndarray
    neighbors: Neighbors
    votes: Votes

    @staticmethod
    def random() -> Found:
        rng = np.random.default_rng(3)
        vectors = rng.normal(size=(IMAGES, DIMENSION)).astype(np.float16)
        weights = rng.uniform(0.5, 1, IMAGES).astype(np.float32)
        scores = vectors.astype(np.float32) @ vectors.astype(np.float32).T
        np.fill_diagonal(scores, -np.inf)
        nearest = np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBORS]
        query = np.repeat(np.arange(IMAGES), NEIGHBORS)
        values = np.take_along_axis(scores, nearest, axis=1).ravel()
        # One image in ten has no neighbour, as if it had no descriptor to be found by.
        kept = query % 10 != 3
        neighbors = Neighbors(query[kept] << 32, nearest.ravel()[kept] << 32, values[kept])
        return Found(vectors, weights, neighbors, _random_votes(rng))

    @staticmethod
    def with_a_family(size: int, least: float = 0.02) -> Found:
        """The first images are copies of one, the others strangers; 50 neighbours each. least: of
        what was done to a copy, up to .6."""
        rng = np.random.default_rng(4)
        vectors = rng.normal(size=(IMAGES, 64))
        strength = rng.uniform(least, 0.6, (size, 1))
        vectors[:size] = vectors[0] + strength * rng.normal(size=(size, 64))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        scores = (vectors @ vectors.T).astype(np.float32)
        np.fill_diagonal(scores, -np.inf)
        nearest = np.argsort(-scores, axis=1, kind="stable")[:, :50]
        query = np.repeat(np.arange(IMAGES), 50)
        values = np.take_along_axis(scores, nearest, axis=1).ravel()
        neighbors = Neighbors(query << 32, nearest.ravel() << 32, values)
        return Found(
            vectors.astype(np.float16), np.ones(IMAGES, np.float32), neighbors, _random_votes(rng)
        )

    def part(self, first: int, last: int) -> tuple[Neighbors, Votes]:
        """The neighbours and votes of images first … last − 1."""
        images = self.neighbors.queries >> 32
        rows = (images >= first) & (images < last)
        columns = (getattr(self.neighbors, name)[rows] for name in ("queries", "ids", "scores"))
        return Neighbors(*columns), self._votes(first, last)

    def _votes(self, first: int, last: int) -> Votes:
        votes = self.votes
        low, high = np.searchsorted(votes.query, [first, last])
        names = ("query", "reference", "votes", "mirrored", "hits")
        starts = votes.starts[low : high + 1]
        points = votes.points[starts[0] : starts[-1]]
        some = (getattr(votes, name)[low:high] for name in names)
        families = votes.families[(votes.families >= first) & (votes.families < last)]
        return Votes(*some, starts - starts[0], points, families)


def _random_votes(rng: np.random.Generator) -> Votes:
    query = np.repeat(np.arange(IMAGES), VOTED)
    others = [rng.choice(IMAGES - 1, VOTED, replace=False) for _ in range(IMAGES)]
    reference = np.concatenate(others)
    reference += reference >= query
    counts = rng.integers(1, 4, len(query))
    starts = np.concatenate([[0], np.cumsum(counts)])
    values = rng.gamma(1.0, 0.05, len(query)).astype(np.float32)
    points = np.zeros((starts[-1], 4), np.float32)
    points[:, 0], points[:, 2] = np.repeat(query, counts), np.repeat(reference, counts)
    points[:, 1] = rng.random(len(points))
    none = np.zeros(len(query), bool)
    return Votes(query, reference, values, none, counts.astype(np.int32), starts, points)


def job_of(folder: Path, found: Found, parts: int, symmetric: bool) -> CandidateJob:
    """The files of the search in some parts, of which one holds no images."""
    total, dimension = found.vectors.shape
    bounds = np.array_split(np.arange(total), parts)
    counts = [*map(len, bounds), 0]
    images, channel, neighbors, votes = [], [], [], []
    start = 0
    for part, count in enumerate(counts):
        ids = [f"{start + row:03d}.jpg" for row in range(count)]
        images.append(str(folder / f"images-{part}"))
        tables.write_table(STORAGE, images[-1], pa.table({"image_id": pa.array(ids, pa.string())}))
        rows = slice(start, start + count)
        flat = pa.array(found.vectors[rows].reshape(-1))
        columns = {
            "image_id": pa.array(ids, pa.string()),
            "view": ["whole"] * count,
            "vector": pa.FixedSizeListArray.from_arrays(flat, dimension),
            "weight": found.weights[rows],
            "model": ["m"] * count,
        }
        channel.append(str(folder / f"descriptors-{part}"))
        table = pa.table(columns, schema=tables.descriptors(dimension))
        tables.write_table(STORAGE, channel[-1], table)
        some = found.part(start, start + count)
        neighbors.append(str(folder / f"neighbors-{part}"))
        write_neighbors(STORAGE, neighbors[-1], some[0])
        votes.append(str(folder / f"votes-{part}"))
        write_votes(STORAGE, votes[-1], some[1])
        start += count
    asked = RoleParts(tuple(images), tuple(counts), descriptors=tuple(channel))
    sides = Sides(asked, asked if symmetric else replace(asked, failures=("of references",)))
    proposals = Proposals(tuple(neighbors), tuple(votes), sides, ("whole",))
    folders = [str(folder / name) for name in ("candidates", "pairs", "scratch")]
    return CandidateJob(STORAGE, proposals, OPTIONS, *folders)


def together(job: CandidateJob, uris: list[str]) -> tuple[pa.Table, list[PairNumbers]]:
    """All candidates, and the numbers of their pairs by part."""
    pairs = [f"{job.pairs_folder}/part-{part:05d}.npz" for part in range(len(uris))]
    read = [read_pairs(STORAGE, uri) for uri in pairs]
    return tables.read_tables(STORAGE, uris, tables.CANDIDATES), read


def all_at_once(found: Found, symmetric: bool) -> dict[tuple[int, int], tuple[float, int]]:
    """Score and rank by pair, of the functions that see every pair."""
    query, reference = found.neighbors.queries >> 32, found.neighbors.ids >> 32
    weights = found.weights
    scores = found.neighbors.scores * (weights[query] * weights[reference])
    crowd = similarity_densities(query, scores, IMAGES)
    votes = LocalPairs(found.votes.query, found.votes.reference, found.votes.votes)
    lists = votes.query, votes.votes, IMAGES
    whole = vote_densities(*lists, may_be_crowded=np.zeros(IMAGES, bool))
    voted = vote_densities(*lists, unit=whole.unit, may_be_crowded=crowd.crowded)
    nobody = np.zeros(IMAGES, np.float32)
    voted = replace(voted, spread=whole.spread, crowd=nobody)
    known = set(zip(query.tolist(), reference.tolist(), strict=True))
    new = np.array([pair not in known for pair in zip(votes.query, votes.reference, strict=True)])
    asked, other = votes.query[new], votes.reference[new]
    floats = found.vectors.astype(np.float32)
    cosines = np.einsum("nd,nd->n", floats[asked], floats[other])
    pairs = DescriptorPairs(
        np.concatenate([query, asked]),
        np.concatenate([reference, other]),
        np.concatenate([found.neighbors.scores, cosines]),
        np.concatenate([scores, cosines * (weights[asked] * weights[other])]),
    )
    merged = merge_pairs(pairs, votes, (crowd, voted), OPTIONS, symmetric=symmetric)
    names = zip(merged.query.tolist(), merged.reference.tolist(), strict=True)
    crowded = crowd.crowded[merged.query]
    if symmetric:
        crowded &= crowd.crowded[merged.reference]
    score = np.where(crowded, np.minimum(merged.score, -6), merged.score)
    return dict(zip(names, zip(score.tolist(), merged.rank.tolist(), strict=True), strict=True))


def test_bundles_of_spills_give_what_the_spills_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_job, "_LEAST_BLOCKS", 5)
    monkeypatch.setattr(candidate_job, "_LEAST_BLOCK_IMAGES", 1)
    found = Found.with_a_family(20)
    plain = job_of(tmp_path / "plain", found, 6, True)
    wanted = together(plain, write_candidates(plain))
    monkeypatch.setattr(spills, "_MANY", 3)
    monkeypatch.setattr(candidate_job, "BUNDLED", 2)
    job = job_of(tmp_path / "bundled", found, 6, True)
    made = together(job, write_candidates(job))
    assert job.found_for("found", 0) == [job.bundle_uri("found", number) for number in range(4)]
    assert job.kept_for(0) == [job.bundle_uri("kept", number) for number in range(3)]
    assert made[0].equals(wanted[0])
    for one, other in zip(made[1], wanted[1], strict=True):
        assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@pytest.mark.parametrize("symmetric", [True, False])
def test_any_number_of_parts_gives_what_all_pairs_at_once_give(
    tmp_path: Path, symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_job, "_LEAST_BLOCKS", 3)
    # Families are told below: what sees every pair knows of none.
    monkeypatch.setattr(merging, "_CENTRAL", 0)
    monkeypatch.setattr(candidate_job, "_LEAST_BLOCK_IMAGES", 1)
    found = Found.random()
    expected = all_at_once(found, symmetric)
    assert len(expected) > IMAGES
    whole: pa.Table | None = None
    for parts in (1, 3, 7):
        folder = tmp_path / str(parts)
        folder.mkdir()
        job = job_of(folder, found, parts, symmetric)
        table, pairs = together(job, write_candidates(job))
        query, reference = (
            np.concatenate([getattr(one, name) for one in pairs]) for name in ("query", "reference")
        )
        got = dict(
            zip(
                zip(query.tolist(), reference.tolist(), strict=True),
                zip(table["score"].to_pylist(), table["rank"].to_pylist(), strict=True),
                strict=True,
            )
        )
        assert got == expected
        whole = whole or table
        assert table.equals(whole)
        for one in pairs:
            for row in range(len(one.query)):
                points = one.correspondences(row)
                assert (points[:, 0] == one.query[row]).all()
                assert (points[:, 2] == one.reference[row]).all()


def test_of_a_large_family_few_pairs_are_needed_and_these_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_job, "_LEAST_BLOCKS", 3)
    monkeypatch.setattr(candidate_job, "_LEAST_BLOCK_IMAGES", 1)
    size, whole = 80, None
    found = Found.with_a_family(size)
    for parts in (1, 5):
        (tmp_path / str(parts)).mkdir()
        job = replace(job_of(tmp_path / str(parts), found, parts, True), options=CandidateOptions())
        table, _ = together(job, write_candidates(job))
        whole = whole or table
        assert table.equals(whole)
    ends = np.array([[int(name[:3]) for name in whole[n].to_pylist()] for n in ENDS])
    spare = whole["spare"].to_numpy()
    inside = (ends < size).all(axis=0)
    assert not spare[~inside].any()
    assert spare.sum() > 5 * size
    needed = ends[:, inside & ~spare]
    assert needed.shape[1] < 3 * size
    graph = coo_array((np.ones(needed.shape[1]), needed), shape=(size, size))
    assert connected_components(graph, directed=False)[0] == 1


def test_a_crowd_of_look_alikes_ranks_below_copies_where_features_alone_are_searched(
    tmp_path: Path,
) -> None:
    """All features of twenty pages of one form agree, more of them than of a photo and its copy."""
    crowd, copies = np.arange(20), (30, 31)
    pairs = [(a, b, 5.0) for a in crowd for b in crowd if a != b]
    pairs += [(*copies, 2.0), (*copies[::-1], 2.0)]
    query, reference, votes = (np.array(column) for column in zip(*pairs, strict=True))
    found = Found.random()
    others = found.votes
    rows = np.flatnonzero(others.query >= 40)
    count = len(query) + len(rows)
    found.votes = Votes(
        np.concatenate([query, others.query[rows]]),
        np.concatenate([reference, others.reference[rows]]),
        np.concatenate([votes, others.votes[rows]]).astype(np.float32),
        np.zeros(count, bool),
        np.ones(count, np.int32),
        np.arange(count + 1),
        np.zeros((count, 4), np.float32),
        crowd,
    )
    job = job_of(tmp_path, found, 3, True)
    job = replace(job, proposals=replace(job.proposals, neighbors=()), options=CandidateOptions())
    table, _ = together(job, write_candidates(job))
    ends = np.array([[int(name[:3]) for name in table[n].to_pylist()] for n in ENDS])
    scores, crowded = (table[name].to_numpy() for name in ("score", "crowded"))
    assert np.array_equal(crowded, (ends < len(crowd)).all(axis=0))
    assert crowded.sum() == len(crowd) * (len(crowd) - 1) / 2
    assert scores[crowded].max() < scores[(copies == ends.T).all(axis=1)]


@pytest.mark.parametrize("agreeing", [True, False])
def test_a_family_of_edits_is_verified_whole_although_it_crowds_itself(
    tmp_path: Path, agreeing: bool
) -> None:
    """Each image of the family has fourteen near ones, none so near that it is a crowd, and finds
    no stranger to compare them with."""
    size = 15
    found = Found.with_a_family(size, least=0.45)
    columns = vars(found.neighbors).items()
    nearest = {
        name: c.reshape(IMAGES, 50)[:, : size - 1].ravel()
        for name, c in columns
        if name != "saturated"
    }
    found.neighbors = Neighbors(**nearest)
    inside = np.array([(a, b) for a in range(size) for b in range(size) if a != b])
    count = len(inside)
    votes = np.random.default_rng(6).uniform(0.65, 1.3, count) - (0 if agreeing else 0.6)
    found.votes = Votes(
        inside[:, 0],
        inside[:, 1],
        votes.astype(np.float32),
        np.zeros(count, bool),
        np.ones(count, np.int32),
        np.arange(count + 1),
        np.zeros((count, 4), np.float32),
    )
    job = replace(job_of(tmp_path, found, 3, True), options=CandidateOptions())
    table, _ = together(job, write_candidates(job))
    ends = np.array([[int(name[:3]) for name in table[n].to_pylist()] for n in ENDS])
    verified = (ends < size).all(axis=0) & (table["score"].to_numpy() >= -6.9)
    assert (verified.sum() > 0.8 * count / 2) == agreeing


def test_the_pipeline_gives_what_its_steps_give(tmp_path: Path) -> None:
    found = Found.random()
    jobs = []
    for name in ("steps", "pipeline"):
        (tmp_path / name).mkdir()
        jobs.append(job_of(tmp_path / name, found, 3, True))
    uris = write_candidates(jobs[0])
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        _ = pipeline | beam.Create(range(4)) | NeighborsToCandidates(jobs[1])
    others = [f"{jobs[1].folder}/part-{part:05d}.parquet" for part in range(4)]
    assert together(jobs[0], uris)[0].equals(together(jobs[1], others)[0])


def test_a_sample_of_the_images_tells_what_holds_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales = []
    for parts in (1, 3):
        monkeypatch.setattr(density_steps, "SAMPLED_IMAGES", IMAGES // 2)
        (tmp_path / str(parts)).mkdir()
        job = job_of(tmp_path / str(parts), Found.random(), parts, True)
        merging.sides_step(
            job, [(one, merging.described_step(job, one)) for one in job.described_parts()]
        )
        for part in range(parts + 1):
            merging.found_step(job, part)
        scales.append(density_steps.scale_step(job))
    assert scales[0] == scales[1]
    monkeypatch.setattr(density_steps, "SAMPLED_IMAGES", IMAGES)
    whole = density_steps.scale_step(job)
    assert scales[0].similarity_spread == pytest.approx(whole.similarity_spread, rel=0.5)


def test_points_follow_their_pairs() -> None:
    assert ranges(np.array([5, 0, 9]), np.array([2, 0, 1])).tolist() == [5, 6, 9]
    records = np.zeros(3, [("query", "<i8"), ("reference", "<i8"), ("points", "<i4")])
    records["query"], records["points"] = [0, 1, 2], [1, 0, 2]
    pairs = PairRows(records, np.arange(12, dtype=np.float32).reshape(3, 4))
    taken = pairs.take(np.array([2, 0]))
    assert taken.records["query"].tolist() == [2, 0]
    assert taken.points[:, 0].tolist() == [4, 8, 0]
