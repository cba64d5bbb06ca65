"""Crowds of near neighbours: proved families get their score back, crowds of look-alikes don't."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from copydetect.types import Candidate
from copydetect.verification import proved_families
from copydetect.verification.calibration import IDENTITY, Calibration, ProbabilityMap
from copydetect.verification.priors import Prior, Priors, Standing
from copydetect.verification.proved_families import between_members, numbered

BY_SCORE = Calibration(ProbabilityMap(confidence=1.0, score=0.2), (), "")


def pairs(images: str, crowded: bool = True) -> list[Candidate]:
    """All pairs of some images."""
    no = math.nan
    return [
        Candidate(a, b, no, no, no, no, 5.0, "", "", 1, crowded)
        for a in images
        for b in images
        if a < b
    ]


def in_proved_families(
    candidates: list[Candidate], confidences: npt.NDArray[np.float64], least: float
) -> npt.NDArray[np.bool_]:
    ends = numbered([(one.query_id, one.reference_id) for one in candidates])
    crowded = np.array([one.crowded for one in candidates], np.bool_)
    return proved_families.in_proved_families(ends, crowded, confidences, least)


@pytest.mark.parametrize(("share", "proved"), [(1.0, True), (0.8, True), (0.5, False), (0, False)])
def test_most_pairs_of_a_family_are_proved(share: float, proved: bool) -> None:
    family = pairs("abcdef")
    copies = np.arange(len(family)) < share * len(family)
    found = in_proved_families(family, copies.astype(np.float64), 0.6)
    assert found.tolist() == [proved] * len(family)


def test_pairs_that_are_nearly_proved_count_for_a_part() -> None:
    family = pairs("abcdef")
    sure = np.where(np.arange(len(family)) % 2, 0.55, 0.95)
    assert in_proved_families(family, sure, 0.6).all()
    assert not in_proved_families(family, sure, 0.99).any()
    assert not in_proved_families(family, np.where(sure > 0.6, 0.8, 0.2), 0.6).any()


def test_crowds_are_judged_apart_and_ordinary_pairs_not_at_all() -> None:
    family, forms, others = pairs("abcd"), pairs("wxyz"), pairs("mn", crowded=False)
    proved = [True] * 6 + [True] + [False] * 5 + [True]
    found = in_proved_families([*family, *forms, *others], np.array(proved, np.float64), 0.6)
    assert found.tolist() == [True] * 6 + [False] * 7
    assert in_proved_families([], np.empty(0), 0.6).shape == (0,)


def test_two_families_that_crowd_each_other_are_apart() -> None:
    """A refused pair between them is inside neither."""
    between = pairs("ax") + pairs("by")
    found = in_proved_families(
        [*pairs("abcd"), *pairs("wxyz"), *between], np.array([1.0] * 12 + [0.0] * 2), 0.6
    )
    assert found.tolist() == [True] * 12 + [False] * 2


def test_a_few_look_alikes_that_were_proved_by_mistake_are_no_family() -> None:
    crowd = pairs("abcdefgh")
    proved = [{one.query_id, one.reference_id} <= set("abc") for one in crowd]
    assert not in_proved_families(crowd, np.array(proved, np.float64), 0.6).any()


def test_a_proved_family_speaks_for_its_pairs() -> None:
    (pair,) = pairs("ab")
    alone, in_family = (
        Prior.of(replace(pair, score=-6.0), standing).confidence(0.6, 0.0, BY_SCORE)
        for standing in (Standing.ALONE, Standing.FAMILY)
    )
    assert alone < 0.4 < 0.8 < in_family


def test_nothing_speaks_for_a_crowded_pair_before_its_family_is_proved() -> None:
    (crowded,), (ordinary,) = pairs("ab"), pairs("ab", crowded=False)
    crowded, ordinary = (replace(one, score=-6.0) for one in (crowded, ordinary))
    unknown = np.full(2, Standing.ALONE)
    of_both = Priors.of(np.full(2, -6.0, np.float32), np.array([True, False]), unknown)
    assert of_both.scores.tolist() == [-7.0, -6.0]
    assert [Prior.of(one).score for one in (crowded, ordinary)] == [-7.0, -6.0]


@pytest.mark.parametrize("prior", [Prior(-3.0), Prior(9.0), Prior(9.0, 2.0)])
def test_what_speaks_against_strangers_does_not_speak_against_other_words(prior: Prior) -> None:
    proof = 0.4
    unlike_strangers = prior.confidence(proof, 0.0, BY_SCORE)
    other_words = prior.confidence(proof, 1 - proof, BY_SCORE)
    # If it is no copy, it is a page with other words: then only what speaks against copies counts.
    assert other_words == pytest.approx(min(proof, unlike_strangers))
    partly = prior.confidence(proof, 0.3, BY_SCORE)
    assert other_words <= partly <= unlike_strangers
    assert prior.confidence(proof, 0.3, IDENTITY) <= max(proof, prior.odds * proof)
    assert prior.confidence(1.0, 0.0, BY_SCORE) == 1
    assert 0 <= prior.confidence(0.0, 0.0, BY_SCORE) < 0.01


def told_between_members(
    crowded: str, others: dict[str, str], refused: set[str] = frozenset()
) -> dict[str, bool]:
    """Which pairs of a family, and of images that were compared with some of it, are of members.

    others: image → with which ones it was compared; refused: pairs that are no copies.
    """
    every = [f"{a}{b}" for a in crowded for b in crowded if a < b]
    every += [f"{min(a, b)}{max(a, b)}" for a, of in others.items() for b in of]
    every = list(dict.fromkeys(every))
    family = np.array([set(pair) <= set(crowded) for pair in every])
    copies = np.array([pair not in refused for pair in every])
    found = between_members(numbered([(a, b) for a, b in every]), family, copies)
    return dict(zip(every, found.tolist(), strict=True))


def test_an_image_that_matches_most_of_a_family_is_a_member() -> None:
    """Heavy edits are not crowded themselves: their pairs with each other are of the family."""
    found = told_between_members("abcde", {"x": "abcdy", "y": "abcx"}, {"xy", "dx"})
    assert all(found.values())


def test_look_alikes_that_match_one_or_two_of_a_family_are_none() -> None:
    found = told_between_members("abcde", {"x": "abcde", "y": "ab"}, {"ax", "bx", "cx"})
    assert {pair for pair, inside in found.items() if not inside} == {
        pair for pair in found if set(pair) & set("xy")
    }


def test_a_member_that_matches_few_of_its_family_speaks_for_no_pair() -> None:
    found = told_between_members("abcde", {}, {"ae", "be", "ce"})
    assert [pair for pair, inside in found.items() if not inside] == ["ae", "be", "ce", "de"]


def test_images_of_two_families_are_not_members_of_one() -> None:
    ends = numbered([("a", "b"), ("b", "c"), ("x", "y"), ("y", "z"), ("a", "x")])
    family = np.array([True, True, True, True, False])
    assert between_members(ends, family, family).tolist() == family.tolist()
    assert not between_members(ends, np.zeros(5, bool), family).any()


@pytest.mark.parametrize("score", [-6.0, 0.0, 14.0])
def test_a_proved_family_never_speaks_against_a_pair(score: float) -> None:
    (pair,) = pairs("ab", crowded=False)
    alone, in_family = (
        Prior.of(replace(pair, score=score), standing).confidence(0.2, 0.0, BY_SCORE)
        for standing in (Standing.ALONE, Standing.FAMILY)
    )
    assert alone < in_family
