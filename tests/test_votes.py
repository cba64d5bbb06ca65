"""Votes: planted similarities are found again, and what agrees by chance counts for little."""

import numpy as np
import pytest

from copydetect.description import keypoints as kp
from copydetect.index.channels import feature_ids
from copydetect.search import votes as vt
from copydetect.types import Keypoints


def features(n: int, seed: int, image: int = 7, mirrored: bool = False) -> vt.QueryFeatures:
    """n features at random places of one query image."""
    random = np.random.default_rng(seed)
    x, y = (random.integers(60, 196, n).astype(np.uint8) for _ in range(2))
    scale = random.integers(30, 80, n).astype(np.uint8)
    angle = random.integers(0, 256, n).astype(np.uint8)
    return vt.QueryFeatures(
        image=np.full(n, image), mirrored=np.full(n, mirrored), upright_x=x,
        x=x, y=y, scale=scale, angle=angle,
    )  # fmt: skip


def transformed(query: vt.QueryFeatures, reference: int, zoom: float, turn: float) -> np.ndarray:
    """Ids of the same features in a reference: zoomed and turned (256 = once round)."""
    point = (query.x + 0.5 - 128) + 1j * (query.y + 0.5 - 128)
    point = point * zoom * np.exp(2j * np.pi * turn / 256) + 128 * (1 + 1j)
    x, y = (np.clip(np.floor(part), 0, 255).astype(np.int64) for part in (point.real, point.imag))
    scale = np.rint(query.scale + 16 * np.log2(zoom)).astype(np.int64)
    angle = (query.angle.astype(np.int64) + turn) % 256
    return (reference << 32) | (x << 24) | (y << 16) | (scale << 8) | angle


def random_ids(n: int, k: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.integers(100, 200, (n, k)) << 32) | random.integers(0, 2**32, (n, k))


def hits(first: np.ndarray, seed: int, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) ids with `first` in front of random ones, and distances that rise."""
    ids = random_ids(len(first), k, seed)
    ids[:, 0] = first
    distances = np.tile(np.linspace(0.2, 1, k, dtype=np.float32), (len(first), 1))
    return ids, distances


@pytest.mark.parametrize(("zoom", "turn"), [(1.0, 0), (0.5, 64), (0.7, 250), (1.0, 128)])
def test_planted_similarity_wins_with_its_correspondences(zoom, turn):
    query = features(40, seed=1)
    ids, distances = hits(transformed(query, 3, zoom, turn), seed=2)
    votes = vt.vote(query, ids, distances)
    assert (votes.query[0], votes.reference[0], votes.mirrored[0]) == (7, 3, False)
    assert votes.hits[0] >= 38
    assert votes.votes[0] > 5 * votes.votes[1]
    points = votes.points[votes.starts[0] : votes.starts[1]]
    ours = points[:, 0] + 1j * points[:, 1] - (1 + 1j) / 2
    theirs = ours * zoom * np.exp(2j * np.pi * turn / 256) + (1 + 1j) / 2
    np.testing.assert_allclose(points[:, 2], theirs.real, atol=0.01)
    np.testing.assert_allclose(points[:, 3], theirs.imag, atol=0.01)


def test_hits_without_one_geometry_count_for_little():
    query = features(40, seed=1)
    random = np.random.default_rng(5)
    scattered = (np.int64(4) << 32) | random.integers(0, 2**32, 40)
    ids, distances = hits(transformed(query, 3, 1.0, 0), seed=2)
    ids[:20, 0] = scattered[:20]
    votes = vt.vote(query, ids, distances)
    assert votes.reference[0] == 3
    other = votes.votes[votes.reference == 4]
    assert votes.votes[0] > 3 * other[0]


def test_one_repeated_feature_counts_once():
    query = features(40, seed=1)
    ids, distances = hits(np.full(40, transformed(query, 3, 1.0, 0)[0]), seed=2)
    votes = vt.vote(query, ids, distances)
    assert votes.hits[votes.reference == 3] == 1


def test_own_image_is_left_out_only_where_asked():
    query = features(30, seed=1, image=3)
    ids, distances = hits(transformed(query, 3, 1.0, 0), seed=2)
    assert vt.vote(query, ids, distances).reference[0] == 3
    assert 3 not in vt.vote(query, ids, distances, exclude_self=True).reference


def test_a_block_equals_its_images_one_by_one():
    parts = [features(30, seed=s, image=s, mirrored=s % 2 == 1) for s in range(4)]
    found = [hits(transformed(part, 50, 1.0, 0), seed=9 + i) for i, part in enumerate(parts)]
    joined = vt.QueryFeatures(
        *(np.concatenate([getattr(p, f) for p in parts]) for f in vt.QueryFeatures.__annotations__)
    )
    ids, distances = (np.concatenate(column) for column in zip(*found, strict=True))
    together = vt.vote(joined, ids, distances)
    alone = [vt.vote(p, *f) for p, f in zip(parts, found, strict=True)]
    for name in ("query", "reference", "votes", "mirrored", "hits", "points"):
        expected = np.concatenate([getattr(votes, name) for votes in alone])
        np.testing.assert_array_equal(getattr(together, name), expected)


def test_order_of_features_does_not_matter():
    query = features(40, seed=1)
    ids, distances = hits(transformed(query, 3, 1.0, 0), seed=2)
    order = np.random.default_rng(0).permutation(40)
    shuffled = vt.QueryFeatures(
        *(getattr(query, f)[order] for f in vt.QueryFeatures.__annotations__)
    )
    first = vt.vote(query, ids, distances)
    second = vt.vote(shuffled, ids[order], distances[order])
    np.testing.assert_array_equal(first.reference, second.reference)
    np.testing.assert_allclose(first.votes, second.votes, rtol=1e-5)


def test_no_features_and_no_hits_give_no_votes():
    none, vectors = vt.query_features([], [], kp.load_quantiser())
    assert vectors.shape == (0, 64)
    empty = vt.vote(none, np.zeros((0, 5), np.int64), np.zeros((0, 5), np.float32))
    query = features(10, seed=1)
    missing = vt.vote(query, np.full((10, 5), -1), np.full((10, 5), np.inf, np.float32))
    for votes in (empty, missing):
        assert len(votes.query) == 0
        assert votes.points.shape == (0, 4)
        assert votes.starts.tolist() == [0]


def test_ids_carry_the_geometry():
    column = np.array([255], np.uint8)
    points = Keypoints(
        "a", 192, 192, column, column, column, column, np.zeros((1, 16), np.uint8), ""
    )
    ids = feature_ids(2**31 - 1, points)
    assert ids.dtype == np.int64
    assert ids[0] >> 32 == 2**31 - 1
    assert ids[0] & 0xFFFFFFFF == 0xFFFFFFFF


def test_a_template_with_equal_codes_everywhere_says_nothing():
    query = features(40, seed=1)
    everywhere = np.stack([transformed(query, r, 1.0, 0) for r in range(20, 25)], axis=1)
    votes = vt.vote(query, everywhere, np.zeros((40, 5), np.float32))
    assert len(votes.query) == 0


@pytest.mark.parametrize("keep", [1, 3, 7])
def test_the_best_references_are_kept_and_equals_by_number(keep):
    query = features(60, seed=1)
    all_ids, distances = hits(random_ids(60, 1, seed=4)[:, 0], seed=2, k=6)
    every = vt.vote(query, all_ids, distances, keep=1000)
    best = vt.vote(query, all_ids, distances, keep=keep)
    order = np.lexsort((every.reference, -every.votes))
    assert len(set(every.votes[order[: keep + 5]].tolist())) < keep + 5
    np.testing.assert_array_equal(best.reference, every.reference[order[:keep]])
    np.testing.assert_array_equal(best.votes, every.votes[order[:keep]])
    assert best.starts[-1] == best.hits.sum() == len(best.points)


def test_a_family_larger_than_the_lists_keeps_its_votes():
    """All hits of every feature are of copies, so that none is nearer than the others."""
    query = features(40, seed=1)
    ids = np.stack([transformed(query, copy, 1.0, 0) for copy in range(20, 28)], axis=1)
    near = np.full(ids.shape, 0.01, np.float32)
    ordinary = vt.vote(query, ids, near)
    assert len(ordinary.query) == len(ordinary.families) == 0
    found = vt.vote(query, ids, near, family_distance=0.06)
    assert found.families.tolist() == [7]
    assert set(found.reference.tolist()) == set(range(20, 28))
    assert found.votes.min() > 10 * 0.034  # what strangers get


def test_a_few_repeated_features_make_no_family():
    query = features(40, seed=1)
    ids, distances = hits(transformed(query, 3, 1.0, 0), seed=2)
    distances[:10] = 0.01
    found = vt.vote(query, ids, distances, family_distance=0.06)
    assert len(found.families) == 0
    np.testing.assert_array_equal(found.votes, vt.vote(query, ids, distances).votes)
