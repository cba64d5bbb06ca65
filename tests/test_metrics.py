"""Metrics against cases computed by hand and against slow definitions of the same."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydetect.errors import InputError
from copydetect.evaluation import metrics


def arrays(rows):
    """(query, reference, score, label) tuples → the four columns."""
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    return (
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float64),
        np.array(columns[3], bool),
    )


@st.composite
def rankings(draw):
    """Up to 30 distinct pairs of few queries with few different scores, so that ties abound."""
    pairs = draw(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7)), unique=True, max_size=30)
    )
    rows = [(q, r, draw(st.integers(0, 5)) / 4, draw(st.booleans())) for q, r in pairs]
    missed = draw(st.integers(0, 5))
    return rows, max(1, sum(row[3] for row in rows) + missed)


def curve_by_hand(rows, positives):
    ranked = sorted(rows, key=lambda row: (-row[2], row[3]))
    points, found = [], 0
    for place, (_, _, score, label) in enumerate(ranked, start=1):
        found += label
        points.append((found / place, found / positives, score))
    return points


class TestMicroAveragePrecision:
    def test_by_hand(self):
        # right, wrong, right, with one pair of four never proposed: ¼·1 + ¼·⅔
        curve = metrics.precision_recall_curve(
            np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 4
        )
        assert metrics.micro_average_precision(curve) == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)

    def test_ties_place_negatives_first(self):
        scores, labels = np.array([0.5, 0.5, 0.5]), np.array([True, False, True])
        curve = metrics.precision_recall_curve(scores, labels, 2)
        assert curve.precisions.tolist() == pytest.approx([0, 1 / 2, 2 / 3])
        assert metrics.micro_average_precision(curve) == pytest.approx(0.5 * 0.5 + 0.5 * 2 / 3)

    def test_missing_queries_count(self):
        one_of_two = metrics.precision_recall_curve(np.array([0.9]), np.array([True]), 2)
        assert metrics.micro_average_precision(one_of_two) == 0.5

    def test_no_predictions_is_zero(self):
        curve = metrics.precision_recall_curve(np.empty(0), np.empty(0, bool), 3)
        assert metrics.micro_average_precision(curve) == 0.0

    def test_fewer_positives_than_found_is_an_error(self):
        with pytest.raises(InputError, match="ground truth of 1"):
            metrics.precision_recall_curve(np.ones(2), np.ones(2, bool), 1)

    @given(rankings())
    def test_equals_the_definition(self, case):
        rows, positives = case
        _, _, scores, labels = arrays(rows)
        curve = metrics.precision_recall_curve(scores, labels, positives)
        points = curve_by_hand(rows, positives)
        before = [0.0, *(recall for _, recall, _ in points)]
        expected = sum(
            (recall - last) * precision
            for (precision, recall, _), last in zip(points, before, strict=False)
        )
        assert metrics.micro_average_precision(curve) == pytest.approx(expected)
        assert list(zip(curve.precisions, curve.recalls, curve.thresholds, strict=True)) == points

    @given(rankings(), st.randoms())
    def test_does_not_depend_on_row_order(self, case, random):
        rows, positives = case
        shuffled = random.sample(rows, len(rows))
        values = []
        for order in (rows, shuffled):
            _, _, scores, labels = arrays(order)
            curve = metrics.precision_recall_curve(scores, labels, positives)
            values.append(metrics.micro_average_precision(curve))
        assert values[0] == values[1]


class TestRecallAtPrecision:
    def test_by_hand(self):
        # precisions 1, ½, ⅔, ¾: at ≥ .7 the last point wins although a dip came before it
        curve = metrics.precision_recall_curve(
            np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, True]), 4
        )
        point = metrics.recall_at_precision(curve, 0.7)
        assert (point.precision, point.recall, point.threshold) == (0.75, 0.75, 0.6)

    def test_the_threshold_is_the_first_that_has_the_recall(self):
        curve = metrics.precision_recall_curve(np.array([0.9, 0.8]), np.array([True, False]), 1)
        assert metrics.recall_at_precision(curve, 0.5).threshold == 0.9

    def test_out_of_reach(self):
        curve = metrics.precision_recall_curve(np.array([0.9, 0.8]), np.array([False, True]), 1)
        assert metrics.recall_at_precision(curve, 0.9) == metrics.Cut(None, None, None)

    @given(rankings(), st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
    def test_equals_the_definition(self, case, precision):
        rows, positives = case
        _, _, scores, labels = arrays(rows)
        curve = metrics.precision_recall_curve(scores, labels, positives)
        reached = [r for p, r, _ in curve_by_hand(rows, positives) if p >= precision]
        point = metrics.recall_at_precision(curve, precision)
        assert point.recall == (max(reached) if reached else None)


class TestRanks:
    def test_by_hand(self):
        queries, _, scores, labels = arrays(
            [(0, 1, 0.9, False), (0, 2, 0.8, True), (1, 3, 0.1, True), (0, 4, 0.8, False)]
        )
        # query 0: its copy ties with a stranger, and both are below another stranger
        assert metrics.ranks_of_copies(queries, scores, labels).tolist() == [2, 0]
        assert metrics.recall_at_k(np.array([2, 0]), 1, 4) == 0.25
        assert metrics.recall_at_k(np.array([2, 0]), 3, 4) == 0.5

    @given(rankings())
    def test_equals_the_definition(self, case):
        rows, _ = case
        queries, _, scores, labels = arrays(rows)
        expected = [
            sum(other[0] == row[0] and other[2] >= row[2] for other in rows) - 1
            for row in rows
            if row[3]
        ]
        assert metrics.ranks_of_copies(queries, scores, labels).tolist() == expected

    @given(rankings(), st.integers(1, 5))
    def test_hit_rate_equals_the_definition(self, case, k):
        rows, _ = case
        queries, _, scores, labels = arrays(rows)
        hits = set()
        for query in {row[0] for row in rows}:
            own = [row for row in rows if row[0] == query]
            best = sorted(own, key=lambda row: (-row[2], row[3]))[:k]
            if any(row[3] for row in best):
                hits.add(query)
        assert metrics.hit_rate_at_k(queries, scores, labels, k, 5) == len(hits) / 5


class TestCandidateRules:
    def test_per_query_by_hand(self):
        queries, references, scores, _ = arrays(
            [(0, 5, 0.1, 0), (0, 3, 0.7, 0), (1, 1, 0.2, 0), (0, 2, 0.7, 0), (0, 9, 0.9, 0)]
        )
        rows = metrics.best_of_each_query(queries, references, scores, 2)
        assert rows.tolist() == [2, 3, 4], "of the tie at 0.7 the smaller reference stays"

    def test_overall_by_hand(self):
        queries, references, scores, _ = arrays(
            [(0, 5, 0.1, 0), (0, 3, 0.7, 0), (1, 1, 0.2, 0), (0, 2, 0.7, 0), (0, 9, 0.9, 0)]
        )
        assert metrics.best_overall(queries, references, scores, 2).tolist() == [3, 4]
        assert metrics.best_overall(queries, references, scores, 99).tolist() == [0, 1, 2, 3, 4]

    @given(rankings(), st.integers(1, 6))
    def test_equal_the_definition(self, case, k):
        rows, _ = case
        queries, references, scores, _ = arrays(rows)
        ranked = sorted(range(len(rows)), key=lambda i: (-rows[i][2], rows[i][0], rows[i][1]))
        per_query = [i for q in range(5) for i in [j for j in ranked if rows[j][0] == q][:k]]
        kept = metrics.best_of_each_query(queries, references, scores, k)
        assert kept.tolist() == sorted(per_query)
        overall = metrics.best_overall(queries, references, scores, k)
        assert overall.tolist() == sorted(ranked[:k])


class TestCheckPairs:
    def test_a_duplicate_pair_is_an_error(self):
        queries, references, scores, _ = arrays([(0, 1, 0.5, 0), (0, 2, 0.5, 0), (0, 1, 0.6, 0)])
        with pytest.raises(InputError, match="pairs 0 and 2 are the same"):
            metrics.check_pairs(queries, references, scores)

    def test_a_score_that_is_no_number_is_an_error(self):
        queries, references, scores, _ = arrays([(0, 1, 0.5, 0), (0, 2, math.nan, 0)])
        with pytest.raises(InputError, match="pair 1 is not a number"):
            metrics.check_pairs(queries, references, scores)

    def test_distinct_pairs_pass(self):
        queries, references, scores, _ = arrays([(0, 1, 0.5, 0), (1, 0, 0.5, 0), (1, 1, 0.5, 0)])
        metrics.check_pairs(queries, references, scores)


class TestMeanAveragePrecision:
    def test_by_hand(self):
        # query 0: its two copies at ranks 0 and 2; query 1: nothing proposed
        queries, _, scores, labels = arrays(
            [(0, 0, 0.9, True), (0, 1, 0.8, False), (0, 2, 0.7, True)]
        )
        first = 0.5 * (1 + 1) / 2
        second = 0.5 * (1 / 2 + 2 / 3) / 2
        value = metrics.mean_average_precision(queries, scores, labels, np.array([2, 1]))
        assert value == pytest.approx((first + second) / 2)

    @given(rankings())
    def test_equals_the_trapezoid_rule(self, case):
        rows, _ = case
        queries, _, scores, labels = arrays(rows)
        positives = np.array([max(1, sum(r[0] == q and r[3] for r in rows)) for q in range(5)])
        total = 0.0
        for query in range(5):
            own = sorted((r for r in rows if r[0] == query), key=lambda r: (-r[2], r[3]))
            ranks = [rank for rank, row in enumerate(own) if row[3]]
            for found, rank in enumerate(ranks):
                left = found / rank if rank else 1.0
                total += (left + (found + 1) / (rank + 1)) / 2 / positives[query]
        value = metrics.mean_average_precision(queries, scores, labels, positives)
        assert value == pytest.approx(total / 5)


class TestReliability:
    def test_by_hand(self):
        confidences = np.array([0.0, 0.1, 0.6, 0.9, 1.0])
        labels = np.array([False, True, False, True, True])
        result = metrics.reliability(confidences, labels, bins=2)
        assert result.counts.tolist() == [2, 3]
        assert result.mean_confidences.tolist() == pytest.approx([0.05, 2.5 / 3])
        assert result.copy_fractions.tolist() == pytest.approx([0.5, 2 / 3])
        expected = (2 * 0.45 + 3 * (2.5 / 3 - 2 / 3)) / 5
        assert result.expected_calibration_error == pytest.approx(expected)

    def test_an_edge_belongs_to_the_upper_bin(self):
        assert metrics.reliability(np.array([0.5]), np.array([True]), 2).counts.tolist() == [0, 1]

    def test_no_pairs(self):
        result = metrics.reliability(np.empty(0), np.empty(0, bool))
        assert result.expected_calibration_error == 0.0

    @pytest.mark.parametrize("value", [-0.01, 1.01, math.nan])
    def test_what_is_no_probability_is_an_error(self, value):
        with pytest.raises(InputError, match=r"outside 0…1"):
            metrics.reliability(np.array([value]), np.array([True]))


GROUPINGS = st.integers(0, 20).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(-3, 5), min_size=n, max_size=n),
        st.lists(st.integers(-3, 5), min_size=n, max_size=n),
    )
)


class TestGroupings:
    def test_b_cubed_by_hand(self):
        # truth {a b c} {d}; predicted {a b} {c d}
        result = metrics.b_cubed(np.array([0, 0, 1, 1]), np.array([7, 7, 7, 8]))
        assert result.precision == pytest.approx((1 + 1 + 0.5 + 0.5) / 4)
        assert result.recall == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1) / 4)

    def test_pairs_by_hand(self):
        result = metrics.grouped_pairs(np.array([0, 0, 1, 1]), np.array([7, 7, 7, 8]))
        assert (result.precision, result.recall) == (1 / 2, 1 / 3)
        assert result.f1 == pytest.approx(0.4)

    @given(GROUPINGS)
    @settings(max_examples=60)
    def test_equal_the_definitions(self, case):
        predicted, truth = case
        n = len(predicted)
        precision = recall = 0.0
        for i in range(n):
            own = {j for j in range(n) if predicted[j] == predicted[i]}
            true = {j for j in range(n) if truth[j] == truth[i]}
            precision += len(own & true) / len(own)
            recall += len(own & true) / len(true)
        result = metrics.b_cubed(np.array(predicted, int), np.array(truth, int))
        assert result.precision == pytest.approx(precision / n if n else 1.0)
        assert result.recall == pytest.approx(recall / n if n else 1.0)

        pairs = list(itertools.combinations(range(n), 2))
        found = {p for p in pairs if predicted[p[0]] == predicted[p[1]]}
        true_pairs = {p for p in pairs if truth[p[0]] == truth[p[1]]}
        together = metrics.grouped_pairs(np.array(predicted, int), np.array(truth, int))
        both = len(found & true_pairs)
        assert together.precision == (both / len(found) if found else 1.0)
        assert together.recall == (both / len(true_pairs) if true_pairs else 1.0)
