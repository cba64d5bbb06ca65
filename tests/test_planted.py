"""Planted copies → the threshold: it moves where look-alikes are, and stays else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from copydetect.evaluation.planted import (
    LookAlikePair,
    PlantedCopy,
    PlantedEvidence,
    copies_to_plant,
    judged,
    sampling_points,
    share_of_copies,
    shared_share,
    sketch_of,
)
from copydetect.self_check import SelfCheck
from copydetect.verification.calibration import Calibration, OperatingPoint, ProbabilityMap

CALIBRATION = Calibration(
    ProbabilityMap(),
    tuple(
        OperatingPoint(threshold, precision, precision - 0.02, precision, 0.9, 2000)
        for threshold, precision in ((0.2, 0.8), (0.5, 0.95), (0.7, 0.98), (0.95, 0.995))
    ),
    "",
)
"""The first of its points with a precision of .97 is at .7."""


def evidence_of(copies: list[float], strangers: list[float], kind: str = "crop") -> PlantedEvidence:
    planted = tuple(PlantedCopy(f"{n}.jpg", (kind,), one) for n, one in enumerate(copies))
    met = tuple(LookAlikePair(f"{n}.jpg", f"like-{n}.jpg", one) for n, one in enumerate(strangers))
    return PlantedEvidence("settings", ("a", "b"), planted, met, (), 3, 0.9, 0.1)


def check(
    evidence: PlantedEvidence, wanted: float = 0.97, used: Calibration = CALIBRATION
) -> SelfCheck:
    return judged(evidence, wanted, 0.5, CALIBRATION, used)


def test_few_copies_leave_the_threshold_near_that_of_the_bundled_calibration() -> None:
    found = check(evidence_of([0.99, 0.99], []))
    assert found.threshold == CALIBRATION.threshold_for(0.97)
    assert found.expected_low < found.expected < found.expected_high
    assert found.reached


def test_the_threshold_moves_where_so_many_look_alikes_are_met_that_it_is_no_chance() -> None:
    bundled = CALIBRATION.threshold_for(0.97)
    clean = check(evidence_of([0.99] * 100, [0.1] * 50))
    few = check(evidence_of([0.99] * 100, [0.8] * 2))
    crowded = check(evidence_of([0.99] * 100, [0.8] * 12))
    assert clean.threshold == few.threshold == bundled
    assert few.expected_low < 0.97 < few.expected_high
    assert few.expected < clean.expected
    assert crowded.threshold > 0.8
    assert crowded.reached


def test_a_precision_that_is_asked_for_is_aimed_at_from_both_sides() -> None:
    bundled = CALIBRATION.threshold_for(0.97)
    easy, hard = evidence_of([0.99] * 100, [0.1] * 50), evidence_of([0.99] * 100, [0.8] * 4)
    lower, higher = (
        judged(one, 0.97, 0.0, CALIBRATION, CALIBRATION, asked=True) for one in (easy, hard)
    )
    assert lower.threshold < bundled == check(hard).threshold < higher.threshold
    assert min(lower.expected, higher.expected) >= 0.97 > check(hard).expected


def test_a_precision_that_cannot_be_had_is_said_with_the_pictures_that_hold_it_back() -> None:
    found = check(evidence_of([0.99] * 100, [0.995] * 20))
    assert not found.reached
    assert found.expected < 0.97
    assert found.strangers == 20
    assert found.look_alikes[0] == ("0.jpg", "like-0.jpg")
    first, *_, last = found.sentences()
    assert first.startswith("a precision of 0.97 cannot be reached here: the most is 0.")
    assert last.endswith(
        "such as 0.jpg and like-0.jpg, 1.jpg and like-1.jpg, 10.jpg and like-10.jpg"
    )


def test_recall_counts_copies_that_were_not_found_and_names_the_weakest_kind() -> None:
    copies = evidence_of([0.99] * 20, [0.1] * 9).copies + evidence_of([0.0] * 10, [], "blur").copies
    found = check(PlantedEvidence("settings", (), copies, (), (), 0, 0.9, 0.1))
    assert found.recall == pytest.approx(20 / 30)
    assert found.recall_low < found.recall < found.recall_high
    assert (found.weakest_kind, found.weakest_recall) == ("blur", 0.0)
    second, third, fourth = found.sentences()[1:]
    assert second.startswith("of 30 copies planted 0.67 were found (")
    assert second.endswith("weakest kind of edit: blur, 0.00")
    assert third == "about 0.50 of the queries seem to have a copy"
    assert fourth.startswith("they met no other picture")


def test_no_single_look_alike_that_barely_reaches_the_threshold_decides() -> None:
    barely, hardly, far = (
        check(evidence_of([0.99] * 100, [0.55, one, 0.9])).expected for one in (0.701, 0.699, 0.6)
    )
    assert barely < hardly < far
    assert hardly - barely < 0.1 * (far - barely)


def test_copies_that_a_pile_holds_are_among_what_it_reports() -> None:
    alone = evidence_of([0.99] * 20, [0.8] * 4)
    family = replace(alone, known=(0.95,) * 60)
    of_pile, of_queries = (
        judged(family, 0.97, 0.5, CALIBRATION, CALIBRATION, share) for share in (None, 0.5)
    )
    assert of_pile.expected > of_queries.expected


def test_pairs_of_a_pile_are_cut_where_their_own_calibration_promises_as_much() -> None:
    bolder = Calibration(
        ProbabilityMap(),
        tuple(
            OperatingPoint(threshold, precision, 0.5, 1.0, 0.9, 2000)
            for threshold, precision in ((0.3, 0.9), (0.8, 0.985), (0.99, 0.999))
        ),
        "",
    )
    assert check(evidence_of([0.99] * 2, []), used=bolder).threshold == 0.8


def test_the_rarer_copies_are_the_higher_is_the_threshold() -> None:
    evidence = evidence_of([0.99] * 100, [0.8] * 2)
    found = [
        judged(evidence, 0.9, 0.0, CALIBRATION, CALIBRATION, share, asked=True)
        for share in (0.9, 0.5, 0.1)
    ]
    thresholds = [one.threshold for one in found]
    assert thresholds == sorted(set(thresholds))
    assert [one.share for one in found] == [0.9, 0.5, 0.1]
    assert "about 0.10 of the queries seem to have a copy" in found[-1].sentences()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.61, 1.0])
def test_a_threshold_gives_the_wanted_precision_whatever_share_of_the_queries_has_a_copy(
    share: float,
) -> None:
    """Copies and the strangers that a query meets have confidences of known distributions."""
    rng = np.random.default_rng(0)

    def drawn(count: int) -> tuple[list[float], list[float]]:
        return rng.beta(4, 1, count).tolist(), rng.beta(1, 6, count).tolist()

    evidence = evidence_of(*drawn(20_000))
    found = judged(evidence, 0.9, 0.0, CALIBRATION, CALIBRATION, share, asked=True)
    copies, strangers = drawn(20_000)
    right = sum(value >= found.threshold for value in copies[: int(share * 20_000)])
    wrong = sum(value >= found.threshold for value in strangers)
    assert right / (right + wrong) == pytest.approx(0.9, abs=0.01)


def test_the_share_of_queries_with_a_copy_is_told_by_what_the_search_takes_for_copies() -> None:
    evidence = evidence_of([0.99] * 100, [])
    likely = round(6100 * evidence.likely_copies + 3900 * evidence.likely_strangers)
    assert share_of_copies(evidence, likely, 10_000) == pytest.approx(0.61, abs=0.01)
    assert 0 < share_of_copies(evidence, 0, 10_000) < 0.01
    assert share_of_copies(evidence, 10_000, 10_000) > 0.99
    few = [share_of_copies(evidence, likely, 1) for likely in (0, 1)]
    assert few[0] < 0.5 < few[1]
    assert few == pytest.approx([0.5, 0.5], abs=0.02)
    blind = replace(evidence, likely_copies=0.1)
    assert share_of_copies(blind, 5, 10) == share_of_copies(evidence, 0, 0) == 0.5


def test_nothing_is_cut_below_even_odds() -> None:
    assert check(evidence_of([0.99] * 400, []), wanted=0.6).threshold == 0.5


def test_evidence_is_kept_as_json_and_holds_for_nearly_the_same_collection() -> None:
    evidence = evidence_of([0.5, 0.75], [0.25])
    assert PlantedEvidence.parse(evidence.to_json()) == evidence
    assert evidence.holds_for("settings", ("a", "b"))
    assert not evidence.holds_for("settings", ("a", "c"))
    assert not evidence.holds_for("others", ("a", "b"))


def test_what_two_collections_share_is_estimated_from_their_smallest_hashes() -> None:
    one = [f"{n:016x}" for n in range(0, 60_000, 3)]
    other = [f"{n:016x}" for n in range(0, 60_000, 2)]
    assert shared_share(sketch_of(one), sketch_of(other)) == pytest.approx(1 / 4, abs=0.05)
    assert shared_share(sketch_of(one), sketch_of(one)) == 1
    assert shared_share(("a", "b", "c"), ("b", "c", "d")) == 0.5
    assert shared_share((), ()) == 0


def test_the_sample_grows_with_the_collection_and_has_a_bound() -> None:
    assert [copies_to_plant(n) for n in (300, 2000, 10_000, 10**9)] == [53, 70, 150, 150]
    points = list(sampling_points(20))
    assert len(set(points)) == 60
    assert points == list(sampling_points(20))


def test_a_collection_without_look_alikes_needs_no_higher_threshold_than_the_bundled_one() -> None:
    def promising(*points: tuple[float, float]) -> Calibration:
        made = (OperatingPoint(at, share, share - 0.02, share, 0.9, 2000) for at, share in points)
        return Calibration(ProbabilityMap(), tuple(made), f"{points}")

    planted_by = promising((0.2, 0.9), (0.5, 0.985), (0.9, 0.995))
    own = promising((0.3, 0.9), (0.6, 0.97), (0.8, 0.985), (0.95, 0.995))
    easy = evidence_of([0.99] * 800, [])
    found = judged(easy, 0.97, 0.5, planted_by, own, share=None)
    assert found.expected_low > 0.97
    assert found.threshold == 0.6
