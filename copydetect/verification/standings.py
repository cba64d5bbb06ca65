"""Compared pairs → what the other pairs say of each, and the confidence that it is a copy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copydetect.types import Bools, Doubles, Ints
from copydetect.verification.calibration import Calibration
from copydetect.verification.denied_pairs import denied_by_copies
from copydetect.verification.priors import Priors, Standing
from copydetect.verification.proved_families import between_members, in_proved_families

UNLIKELY = -4.0
"""From this score down, in log-odds, the search takes a pair for strangers. Where pixels take it
for a copy all the same, it is doubtful. Above it, most that would be denied are heavy edits."""


@dataclass(frozen=True)
class ComparedPairs:
    """n pairs that were compared.

    ends: (2, n) int64 numbers of their images, from 0; scores: (n,) of the search, in log-odds;
    crowded: (n,); proofs, other_content: (n,) of the pixels, as in `types.Match`.
    """

    ends: Ints
    scores: Doubles
    crowded: Bools
    proofs: Doubles
    other_content: Doubles

    def confidences(self, standings: Ints, calibration: Calibration) -> Doubles:
        """(n,) 0…1 that they are copies, each of its standing."""
        priors = Priors.of(self.scores, self.crowded, standings)
        return priors.confidences(self.proofs, self.other_content, calibration)


def standings_of(
    pairs: ComparedPairs, least: float, calibration: Calibration
) -> tuple[Ints, Doubles]:
    """(n,) `Standing` of each pair, and its confidence by that. least: that of a copy."""
    standings = np.full(len(pairs.scores), int(Standing.ALONE))
    sure = pairs.confidences(standings, calibration)
    family = in_proved_families(pairs.ends, pairs.crowded, sure, least)
    standings[family] = Standing.FAMILY
    sure = pairs.confidences(standings, calibration)
    standings[between_members(pairs.ends, family, sure >= least)] = Standing.FAMILY
    sure = pairs.confidences(standings, calibration)
    doubtful = (standings == Standing.ALONE) & (sure >= least) & (pairs.scores <= UNLIKELY)
    denied = denied_by_copies(pairs.ends, sure, pairs.other_content, doubtful)
    standings[denied] = Standing.DENIED
    return standings, pairs.confidences(standings, calibration)
