"""What is known of a pair beside its pixels → the confidence that it is a copy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from copydetect.types import Bools, Candidate, Doubles
from copydetect.verification.calibration import Calibration, ProbabilityMap


class Standing(IntEnum):
    """What other pairs say of one: nothing; that it is inside a proved family of copies; or that it
    is none, since the copies of its two images are none of each other."""

    ALONE = 0
    FAMILY = 1
    DENIED = 2


_ODDS = np.array([1.0, 2.0, 0.125])
"""By which the odds of a pair are multiplied, by its standing. Of a family two in three pairs
should be copies. Of denied pairs that pixels take for copies at odds of 3, 6 are and 33 are
none."""
_OF_A_CROWD = -7.0
"""Log-odds of a crowded pair before its family is proved: the search knows nothing of it."""
_OF_A_FAMILY = 5.0
"""The least log-odds of a pair of a proved family. With any value from 2 to 12 families of 12 to
300 edits lose no copy, and look-alikes gain none."""


@dataclass(frozen=True)
class Prior:
    """The prior of a pair: what is known of it beside its pixels.

    score: of the search, in log-odds; odds: by which the odds are multiplied.
    """

    score: float
    odds: float = 1.0

    @classmethod
    def of(cls, candidate: Candidate, standing: Standing = Standing.ALONE) -> Prior:
        """Of a candidate of this standing."""
        of_one = np.array([candidate.score], np.float64), np.array([candidate.crowded])
        several = Priors.of(*of_one, np.array([standing]))
        return cls(float(several.scores[0]), float(several.odds[0]))

    def confidence(self, proof: float, other_content: float, calibration: Calibration) -> float:
        """0…1 that the pair are copies. proof, other_content: of the pixels, as in `types.Match`.

        What is known beforehand speaks against strangers. It says nothing against two pages of one
        layout, or one picture with other words, so that these stay as probable beside a copy as the
        pixels make them.
        """
        one = Priors(np.array([self.score]), np.array([self.odds]))
        (found,) = one.confidences(np.array([proof]), np.array([other_content]), calibration)
        return float(found)


@dataclass(frozen=True)
class Priors:
    """The same of many pairs: (n,) float64 each."""

    scores: Doubles
    odds: Doubles

    @classmethod
    def of(
        cls, scores: npt.NDArray[np.floating], crowded: Bools, standings: npt.NDArray[np.integer]
    ) -> Priors:
        """Of n candidates with these scores and standings (n,)."""
        alone = np.where(crowded, np.minimum(scores, _OF_A_CROWD), scores)
        of_family = standings == Standing.FAMILY
        together = np.where(of_family, np.maximum(scores, _OF_A_FAMILY), alone)
        return cls(together.astype(np.float64), _ODDS[standings])

    def confidences(
        self, proofs: Doubles, other_content: Doubles, calibration: Calibration | ProbabilityMap
    ) -> Doubles:
        """(n,) 0…1 that the pairs are copies, as `Prior.confidence`."""
        calibrated = calibration.apply(proofs, self.scores)
        believed = self.odds * calibrated / (1 + (self.odds - 1) * calibrated)
        # Where the prior has raised the proof: the part of strangers that it has taken away.
        raised = (proofs > 0) & (proofs < 1) & (believed > proofs)
        proof, sure = proofs[raised], believed[raised]
        unlike_strangers = 1 - (1 - sure) / sure * proof / (1 - proof)
        believed[raised] = 1 / (1 / sure + unlike_strangers * other_content[raised] / proof)
        return np.asarray(believed, np.float64)
