"""Merging both channels: against a slow dictionary join, by hand, and in any order."""

from functools import partial

import numpy as np
import pytest

from copydetect.candidates.densities import Densities
from copydetect.candidates.fusion import (
    CandidateOptions,
    DescriptorPairs,
    Fusion,
    LocalPairs,
    merge_pairs,
)
from copydetect.errors import OptionError

EVERYTHING = CandidateOptions(k=1000)
PLAIN = Fusion(intercept=-1.0, descriptor=2.0, local=3.0)
merge_matches, merge_duplicates = (
    partial(merge_pairs, symmetric=symmetric) for symmetric in (False, True)
)


def ints(values):
    return np.array(values, np.int64)


def floats(values):
    return np.array(values, np.float32)


def descriptor_pairs(rows):
    query, reference, similarity = zip(*rows, strict=True)
    return DescriptorPairs(ints(query), ints(reference), floats(similarity), floats(similarity))


def local_pairs(rows):
    query, reference, votes = zip(*rows, strict=True)
    return LocalPairs(ints(query), ints(reference), floats(votes))


def similarity_side(values, floors, spread=0.5):
    return Densities(floats(values), floats(floors), spread, floats([0] * len(values)))


def vote_side(values, unit=1.0, spread=0.5):
    return Densities(
        floats(values), floats([0] * len(values)), spread, floats([0] * len(values)), unit
    )


def fused(descriptor_score, local_score, spread=0.5):
    """The score by its formula, with the weights of PLAIN."""
    surpluses = [np.log(1 + np.exp(score / spread)) for score in (descriptor_score, local_score)]
    return -1 + 2 * surpluses[0] + 3 * surpluses[1]


def test_match_by_hand():
    descriptor = descriptor_pairs([(0, 3, 0.9), (0, 1, 0.4)])
    local = local_pairs([(0, 3, np.e - 1), (1, 2, np.e**2 - 1)])
    sides = similarity_side([0.1, 0.2], [0.4, 0.3]), vote_side([0.5, 0])
    found = merge_matches(descriptor, local, sides, EVERYTHING, PLAIN)
    np.testing.assert_array_equal(found.query, [0, 0, 1])
    np.testing.assert_array_equal(found.reference, [3, 1, 2])
    np.testing.assert_allclose(found.similarity, [0.9, 0.4, np.nan])
    np.testing.assert_allclose(found.descriptor_score, [0.8, 0.3, np.nan], atol=1e-6)
    np.testing.assert_allclose(found.votes, [np.e - 1, np.nan, np.e**2 - 1], rtol=1e-6)
    np.testing.assert_allclose(found.local_score, [0.5, np.nan, 2], atol=1e-6)
    # A silent channel counts at its list's end.
    expected = [fused(0.8, 0.5), fused(0.3, -0.5), fused(0.3 - 0.2, 2)]
    np.testing.assert_allclose(found.score, expected, rtol=1e-5)
    np.testing.assert_array_equal(found.rank, [1, 2, 1])
    np.testing.assert_array_equal(found.descriptor_row, [0, 1, -1])
    np.testing.assert_array_equal(found.local_row, [0, -1, 1])


def test_dedup_by_hand():
    descriptor = descriptor_pairs([(2, 0, 0.7), (0, 2, 0.7), (1, 1, 1.0), (1, 2, 0.3)])
    local = local_pairs([(0, 2, 3.0), (2, 0, 1.0), (2, 1, 1.0), (0, 0, 9.0)])
    sides = similarity_side([0.1, 0.2, 0.3], [0.2, 0.2, 0.1]), vote_side([0, 0.2, 0.4])
    found = merge_duplicates(descriptor, local, sides, EVERYTHING, PLAIN)
    np.testing.assert_array_equal(found.query, [0, 1])
    np.testing.assert_array_equal(found.reference, [2, 2])
    np.testing.assert_allclose(found.descriptor_score, [0.7 - 0.2, 0.3 - 0.25], atol=1e-6)
    np.testing.assert_allclose(found.votes, [4, 1])
    np.testing.assert_allclose(
        found.local_score,
        [(np.log(4) + np.log(2)) / 2 - 0.0, np.log(2) / 2 - 0.2],
        rtol=1e-5,
    )


def random_channels(seed, images, rows):
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, images, (2, rows))
    descriptor = DescriptorPairs(*pairs, *floats(rng.random((2, rows))))
    local = LocalPairs(*rng.integers(0, images, (2, rows)), floats(rng.random(rows) + 0.1))
    sides = (
        similarity_side(rng.random(images), rng.random(images)),
        vote_side(rng.random(images)),
    )
    return descriptor, local, sides


def slow_scores(descriptor, local, sides):
    """Scores of unordered pairs by dictionaries."""
    best, directions = {}, {}
    for a, b, score in zip(descriptor.query, descriptor.reference, descriptor.score, strict=True):
        key = min(a, b), max(a, b)
        if a != b:
            best[key] = max(best.get(key, -9), score)
    for a, b, votes in zip(local.query, local.reference, local.votes, strict=True):
        if a != b:
            directions.setdefault((min(a, b), max(a, b)), []).append(np.log1p(votes))
    scores = {}
    for a, b in best.keys() | directions.keys():
        ends = [(side.values[a], side.values[b]) for side in sides]
        crowding = sum(ends[0]) / 2, min(ends[1])
        similarity = best.get((a, b), min(sides[0].floors[a], sides[0].floors[b]))
        evidence = sum(directions.get((a, b), [0])) / 2
        scores[a, b] = fused(similarity - crowding[0], evidence - crowding[1])
    return scores


def test_dedup_equals_a_slow_join():
    descriptor, local, sides = random_channels(1, 30, 200)
    found = merge_duplicates(descriptor, local, sides, EVERYTHING, PLAIN)
    expected = slow_scores(descriptor, local, sides)
    pairs = list(zip(found.query, found.reference, strict=True))
    assert set(pairs) == set(expected)
    assert len(set(pairs)) == len(pairs)
    np.testing.assert_allclose(found.score, [expected[pair] for pair in pairs], rtol=1e-4)


@pytest.mark.parametrize("merge", [merge_matches, merge_duplicates])
def test_order_of_rows_does_not_matter(merge):
    descriptor, local, sides = random_channels(2, 20, 300)
    order = np.random.default_rng(3).permutation(300)
    shuffled = DescriptorPairs(
        *(
            getattr(descriptor, name)[order]
            for name in ("query", "reference", "similarity", "score")
        )
    )
    mixed = LocalPairs(*(getattr(local, name)[order] for name in ("query", "reference", "votes")))
    first = merge(descriptor, local, sides, CandidateOptions(k=3))
    second = merge(shuffled, mixed, sides, CandidateOptions(k=3))
    for name in ("query", "reference", "similarity", "score", "rank"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    found = first.descriptor_row >= 0
    rows = order[second.descriptor_row[found]]
    np.testing.assert_array_equal(first.descriptor_row[found], rows)


def test_the_best_k_and_everything_over_min_score():
    descriptor = descriptor_pairs([(0, r, s) for r, s in enumerate([0.9, 0.5, 0.5, 0.8, 0.1])])
    sides = similarity_side([0], [0.1], spread=1.0), None
    fusion = Fusion(0, 1, 1)
    two = merge_matches(descriptor, None, sides, CandidateOptions(k=2, family=0), fusion)
    np.testing.assert_array_equal(two.reference, [0, 3])
    options = CandidateOptions(k=1, min_score=0.9, family=0)
    over = merge_matches(descriptor, None, sides, options, fusion)
    np.testing.assert_array_equal(over.reference, [0, 3, 1, 2])  # ties by reference
    np.testing.assert_array_equal(over.rank, [1, 2, 3, 4])


def test_dedup_keeps_a_pair_that_is_good_for_either_image():
    # 2 is everybody's best; for 2 itself only the pair with 0 is among the best one.
    descriptor = descriptor_pairs([(0, 2, 0.9), (1, 2, 0.5), (0, 1, 0.4)])
    sides = similarity_side([0, 0, 0], [0, 0, 0]), None
    found = merge_duplicates(descriptor, None, sides, CandidateOptions(k=1))
    np.testing.assert_array_equal(found.query, [0, 1])
    np.testing.assert_array_equal(found.rank, [1, 1])


def test_nothing_found():
    nothing = np.empty(0, np.int64)
    empty = LocalPairs(nothing, nothing, floats([]))
    none = DescriptorPairs(nothing, nothing, floats([]), floats([]))
    sides = similarity_side([0], [0]), vote_side([0])
    for merge in (merge_matches, merge_duplicates):
        assert len(merge(none, empty, sides, EVERYTHING).query) == 0
        assert len(merge(None, None, (None, None), EVERYTHING).query) == 0


def test_options_out_of_range():
    with pytest.raises(OptionError, match="k must"):
        CandidateOptions(k=0)
    with pytest.raises(OptionError, match="min_score"):
        CandidateOptions(min_score=float("nan"))
