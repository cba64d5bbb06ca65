"""Densities: the line through the tail, copies left out, and any order of the lists."""

import numpy as np
import pytest

from copydetect.candidates.densities import (
    USUAL_DENSITY,
    Densities,
    density_of_lists,
    similarity_densities,
    vote_densities,
)

RANKS = np.arange(1, 41)


def lists_of(*columns):
    """queries (n,), scores (n,) of neighbour lists given as rows of scores."""
    queries = np.repeat(np.arange(len(columns)), [len(column) for column in columns])
    return queries, np.concatenate(columns).astype(np.float32)


def strangers(level, slope=0.05):
    """Scores of a list without a copy: a line in the logarithm of the rank."""
    return level - slope * np.log(RANKS)


def test_on_a_line_the_density_is_the_mean_of_the_near_ranks():
    ranked = np.stack([strangers(0.5), strangers(0.3)])[:, :30].astype(np.float32)
    densities, slopes = density_of_lists(ranked)
    np.testing.assert_allclose(densities, ranked[:, 1:6].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(slopes, 0.05, atol=1e-6)


def test_many_copies_raise_the_density_far_less_than_the_plain_mean():
    crowd = np.sort(np.concatenate([[0.95] * 6, strangers(0.4)]))[::-1]
    queries, scores = lists_of(strangers(0.4), crowd)
    alone, copied = similarity_densities(queries, scores, 2).values
    plain = crowd[1:6].mean() - strangers(0.4)[1:6].mean()
    assert 0 < copied - alone < 0.4 * plain


def test_order_of_rows_does_not_matter():
    rng = np.random.default_rng(0)
    queries, scores = lists_of(strangers(0.5), strangers(0.2), rng.random(40))
    shuffled = rng.permutation(len(queries))
    first = similarity_densities(queries, scores, 3)
    second = similarity_densities(queries[shuffled], scores[shuffled], 3)
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.floors, second.floors)
    assert first.spread == second.spread


def test_lonely_images_take_the_fallback_or_the_median():
    queries, scores = lists_of(strangers(0.5), strangers(0.3), [0.9, 0.8])
    usual = similarity_densities(queries, scores, 4).values
    np.testing.assert_allclose(usual[2:], np.median(usual[:2]))
    biases = np.array([0, 0, 0.11, 0.22], np.float32)
    np.testing.assert_allclose(
        similarity_densities(queries, scores, 4, fallback=biases).values[2:], [0.11, 0.22]
    )


def test_floors_are_the_ends_of_the_lists():
    queries, scores = lists_of(strangers(0.5), strangers(0.3))
    ends = [strangers(0.5)[-1], strangers(0.3)[-1]]
    np.testing.assert_allclose(similarity_densities(queries, scores, 2).floors, ends)


def test_no_floor_is_above_the_density():
    queries, votes = lists_of([9.0, 8.0], [0.1, 0.1, 0.1])
    found = vote_densities(queries, votes, 2)
    assert (found.floors <= found.values).all()


def test_votes_are_counted_in_units_of_what_strangers_get():
    queries, votes = lists_of([8.0, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1])
    found = vote_densities(queries, votes, 3)
    assert found.unit == pytest.approx(0.1)
    np.testing.assert_allclose(found.evidence(np.float32([0, 0.1, 8])), np.log([1, 2, 81]))
    assert found.values[2] == 0  # no list: nobody got a vote
    halved = vote_densities(queries, votes / 2, 3)
    np.testing.assert_allclose(halved.values, found.values, rtol=1e-5)


def test_a_handful_of_copies_does_not_pass_for_strangers():
    queries, votes = lists_of([5.0, 4.0, 4.0], [5.0, 4.0, 4.0], [4.0, 4.0, 4.0], [4.0, 4.0, 4.0])
    found = vote_densities(queries, votes, 4)
    evidence = found.evidence(votes) - found.values[queries]
    assert (evidence / found.spread > 10).all()


def test_forty_copies_do_not_hide_each_other():
    queries, votes = lists_of(*[[4.0] * 39] * 40)
    found = vote_densities(queries, votes, 40)
    assert found.evidence(np.float32([4])) - found.values.max() > 5 * found.spread


def test_nothing_found_at_all():
    nothing = np.empty(0, np.int64), np.empty(0, np.float32)
    similar, voted = similarity_densities(*nothing, 3), vote_densities(*nothing, 3)
    np.testing.assert_allclose(similar.values, USUAL_DENSITY)
    np.testing.assert_array_equal(voted.values, np.zeros(3))
    for densities in (similar, voted):
        assert densities.spread > 0
        assert not densities.crowded.any()


@pytest.mark.parametrize("copies", [8, 12, 19, 30, 39])
def test_a_family_of_any_size_leaves_the_density_of_strangers(copies):
    """Its own: the same picture saved so many times, before a tail of strangers."""
    rng = np.random.default_rng(copies)
    family = np.sort(rng.uniform(0.45, 0.6, copies))[::-1]
    lists = [strangers(0.3)[:40], np.concatenate([family, strangers(0.3)])[:50]]
    queries, scores = lists_of(*lists)
    found = similarity_densities(queries, scores, 2)
    assert found.crowded.tolist() == [False, True]
    np.testing.assert_allclose(found.values[1], found.values[0], atol=0.02)


def test_a_smooth_crowd_is_no_family():
    """Pages of text are all alike: the list falls evenly, and all of it is strangers."""
    queries, scores = lists_of(strangers(0.3), strangers(0.7), strangers(0.7, slope=0.08))
    found = similarity_densities(queries, scores, 3)
    assert not found.crowded.any()
    assert found.values[1] > found.values[0] + 0.3


def test_copies_that_share_their_features_do_not_crowd_each_other():
    """Each feature has eight neighbours, so that votes of a large family are thin."""
    family = [np.float32([0.4] * 19 + [0.03] * 21)] * 20
    queries, votes = lists_of(*family)
    found = vote_densities(queries, votes, 20)
    surplus = found.evidence(np.float32([0.4])) - found.values.max()
    assert surplus > 8 * found.spread


def test_of_votes_the_lesser_density_counts_unless_one_image_alone_is_in_a_crowd():
    values = np.array([0.7, 0.7, 2.0, 1.5], np.float32)
    crowd = np.array([30, 30, 0, 0], np.float32)
    densities = Densities(values, values, spread=0.1, crowd=crowd, unit=0.03)
    query, reference = np.array([0, 0, 2, 3]), np.array([1, 2, 0, 2])
    np.testing.assert_allclose(densities.of_pairs(query, reference), [0.7, 2.0, 2.0, 1.5])
