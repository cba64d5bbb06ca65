"""A ranking against a truth: strangers, both orders, kinds of edits, groups."""

from __future__ import annotations

import numpy as np
import pytest

from copydetect.errors import InputError, OptionError
from copydetect.evaluation import metrics, plots
from copydetect.evaluation import rankings as evaluation
from copydetect.evaluation.ground_truth import GroupTruth, PairTruth
from copydetect.evaluation.rankings import CandidateRule, rank_pairs, ranking_figures

PAIRS = PairTruth(
    pairs=[("Q1", "R1"), ("Q2", "R2"), ("Q3", "R3"), ("Q3", "R4")],
    queries=["Q1", "Q2", "Q3", "Q4", "Q5"],
    edits={"Q1": ["crop"], "Q2": ["blur", "crop"], "Q4": ["blur"]},
    sources={"Q1": "food", "Q2": "flickr"},
)


def ranked(rows, truth=PAIRS, **keywords):
    queries, references, scores = zip(*rows, strict=True)
    return rank_pairs(list(queries), list(references), np.array(scores), truth, **keywords)


ROWS = [
    ("Q1.jpg", "R1.jpg", 0.9),
    ("Q4.jpg", "R1.jpg", 0.8),
    ("Q3.jpg", "R4.jpg", 0.7),
    ("Q2.jpg", "R9.jpg", 0.6),
    ("Q2.jpg", "R2.jpg", 0.5),
]


def test_figures_by_hand():
    figures = ranking_figures(ranked(ROWS))
    # copies at places 1, 3 and 5 of the ranking, and R3 never proposed
    assert figures["micro_ap"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)
    assert figures["recall_at_precision"]["0.9"] == {"recall": 0.25, "threshold": 0.9}
    assert figures["recall_at_rank"] == {"1": 0.5, "10": 0.75, "50": 0.75}
    assert figures["edits"] == {
        "blur": {"copies": 1, "recall_at_precision_0.9": 0, "recall_at_rank_1": 0},
        "crop": {"copies": 2, "recall_at_precision_0.9": 0.5, "recall_at_rank_1": 0.5},
    }
    assert set(figures["sources"]) == {"flickr", "food"}


def test_candidate_rules():
    assert len(ranked(ROWS, rule=CandidateRule(per_query=1)).scores) == 4
    assert ranked(ROWS, rule=CandidateRule(overall=2)).scores.tolist() == [0.9, 0.8]
    assert str(CandidateRule(5, 100)) == "best 5 of a query, best 100 of all"
    with pytest.raises(OptionError, match="per_query is 0"):
        CandidateRule(per_query=0)


def test_a_duplicate_pair_is_an_error():
    with pytest.raises(InputError, match="are the same"):
        ranked([*ROWS, ROWS[0]])


def test_queries_that_the_truth_does_not_name_count_against():
    figures = ranking_figures(ranked([("Q1", "R1", 0.5), ("stranger", "R1", 0.9)]))
    assert figures["micro_ap"] == pytest.approx(0.25 * 0.5)


GROUPS = GroupTruth(
    group_of={"a": "g", "b": "g", "c": "g", "d": "h", "e": "h", "f": "i"},
    originals=frozenset("adf"),
    edits={"b": ["crop"], "c": ["blur"], "e": ["crop"]},
)


def test_groups_are_unordered_pairs():
    ranking = ranked([("b", "a", 0.9), ("f", "a", 0.8), ("d", "e", 0.7)], GROUPS)
    assert ranking.labels.tolist() == [True, False, True]
    assert len(ranking.positives) == 4
    figures = ranking_figures(ranking)
    assert figures["micro_ap"] == pytest.approx((1 + 2 / 3) / 4)
    # of a, b, c, d, e: all but c have a copy as their best partner
    assert figures["recall_at_rank"]["1"] == 4 / 5
    with pytest.raises(InputError, match="are the same"):
        ranked([("a", "b", 0.9), ("b", "a", 0.8)], GROUPS)


def test_pairs_of_two_edits_can_be_left_out():
    rows = [("b", "c", 0.9), ("a", "b", 0.8)]
    ranking = ranked(rows, GROUPS, originals_only=True)
    assert ranking.scores.tolist() == [0.8]
    assert len(ranking.positives) == 3
    assert ranking_figures(ranking)["micro_ap"] == pytest.approx(1 / 3)


def test_group_figures_by_hand():
    figures = evaluation.group_figures({"a.jpg": "1", "b.jpg": "1", "f.jpg": "1"}, GROUPS)
    assert figures["images"] == 6
    assert figures["pairs"] == {"precision": 1 / 3, "recall": 1 / 4, "f1": pytest.approx(2 / 7)}
    precision = (2 / 3 + 2 / 3 + 1 / 3 + 1 + 1 + 1) / 6
    recall = (2 / 3 + 2 / 3 + 1 / 3 + 1 / 2 + 1 / 2 + 1) / 6
    assert figures["b_cubed"]["precision"] == pytest.approx(precision)
    assert figures["b_cubed"]["recall"] == pytest.approx(recall)


def test_no_groups_at_all():
    assert evaluation.group_figures({}, GROUPS)["b_cubed"]["precision"] == 1.0


def test_false_alarms():
    assert evaluation.false_alarm_rate(["Q1.jpg", "Q4.jpg"], PAIRS) == 0.5
    assert evaluation.false_alarm_rate([], PAIRS) == 0.0
    pile = GroupTruth({"a": "1", "b": "1", "alone": "2", "single": "3"})
    assert evaluation.false_alarm_rate(["a.jpg", "alone.jpg"], pile) == 0.5


def test_copydays_map_of_each_block():
    truth = PairTruth(
        [("strong/1.jpg", "original/1.jpg"), ("crops/10/1.jpg", "original/1.jpg")],
        ["strong/1.jpg", "crops/10/1.jpg"],
        blocks={"strong/1.jpg": "strong", "crops/10/1.jpg": "crops/10"},
    )
    rows = [
        ("strong/1.jpg", "2.jpg", 0.9),
        ("strong/1.jpg", "1.jpg", 0.8),
        ("crops/10/1.jpg", "1.jpg", 0.7),
    ]
    figures = ranking_figures(ranked(rows, truth))
    # one stranger first: the trapezoid from precision 0 to ½
    assert figures["map"] == {"crops/10": 1.0, "strong": pytest.approx(0.25)}


def test_plots_are_svg_and_the_same_every_time():
    ranking = ranked(ROWS)
    first = plots.precision_recall_svg({"candidates": ranking.curve})
    assert first.lstrip().startswith(b"<?xml")
    assert first == plots.precision_recall_svg({"candidates": ranking.curve})
    diagram = metrics.reliability(ranking.scores, ranking.labels)
    assert b"</svg>" in plots.reliability_svg(diagram)


def test_a_ranking_of_nothing_is_drawn_too():
    nothing = metrics.precision_recall_curve(np.empty(0), np.empty(0, bool), 3)
    assert b"<svg" in plots.precision_recall_svg({"matches": nothing})
