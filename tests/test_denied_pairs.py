"""Look-alikes that pass for copies are denied by the pairs of their copies."""

from __future__ import annotations

import numpy as np
import pytest

from copydetect.verification.calibration import IDENTITY
from copydetect.verification.denied_pairs import denied_by_copies
from copydetect.verification.priors import Standing
from copydetect.verification.proved_families import numbered
from copydetect.verification.standings import ComparedPairs, standings_of

MONTHS = {"ab": 0.99, "cd": 0.99, "bd": 0.75, "ac": 0.1, "ad": 0.1, "bc": 0.1}
"""a and b are one month, c and d another; of these b and d are cropped, and pass for one."""


def denied(
    said: dict[str, float], other: float = 0.8, doubtful: tuple[str, ...] = ("bd",)
) -> list[str]:
    """Pairs that are denied. said: the confidence of each; other: share of other content of those
    that are no copies."""
    confidences = np.array(list(said.values()))
    found = denied_by_copies(
        numbered([(pair[0], pair[1]) for pair in said]),
        confidences,
        np.where(confidences < 0.5, other, 0.0),
        np.array([pair in doubtful for pair in said]),
    )
    return [pair for pair, no in zip(said, found.tolist(), strict=True) if no]


def test_two_look_alikes_are_denied_by_their_originals() -> None:
    assert denied(MONTHS) == ["bd"]
    turned = {pair[::-1]: confidence for pair, confidence in MONTHS.items()}
    assert denied(turned, doubtful=("db",)) == ["db"]


def test_only_doubtful_pairs_are_denied() -> None:
    assert denied(MONTHS, doubtful=()) == []


def test_a_pair_stays_where_nothing_else_is_known() -> None:
    assert denied({"bd": 0.51}) == []
    assert denied({"ab": 0.99, "cd": 0.99, "bd": 0.51}) == []


def test_copies_of_both_prove_a_pair() -> None:
    assert denied({**MONTHS, "bx": 0.95, "dx": 0.95}) == []
    assert denied({**MONTHS, "bx": 0.95, "dx": 0.2}) == ["bd"]


def test_a_heavy_edit_in_which_nothing_in_common_is_seen_denies_nothing() -> None:
    assert denied(MONTHS, other=0.0) == []


def test_copies_that_are_hardly_sure_deny_little() -> None:
    unsure = {**MONTHS, "ab": 0.55, "cd": 0.55}
    assert denied(unsure) == []
    assert denied({**unsure, "ab": 0.95}) == ["bd"]


@pytest.mark.parametrize(("score", "standing"), [(-5.0, Standing.DENIED), (-1.0, Standing.ALONE)])
def test_a_pair_that_the_search_speaks_for_is_not_doubtful(
    score: float, standing: Standing
) -> None:
    proofs = np.array(list(MONTHS.values()))
    pairs = ComparedPairs(
        numbered([(pair[0], pair[1]) for pair in MONTHS]),
        np.full(len(MONTHS), score),
        np.zeros(len(MONTHS), np.bool_),
        proofs,
        np.where(proofs < 0.5, 0.8, 0.0),
    )
    standings, sure = standings_of(pairs, 0.65, IDENTITY)
    at = list(MONTHS).index("bd")
    assert standings.tolist() == [standing if n == at else Standing.ALONE for n in range(6)]
    assert (sure[at] < 0.65) == (standing == Standing.DENIED)
    assert np.delete(sure, at) == pytest.approx(np.delete(proofs, at))
