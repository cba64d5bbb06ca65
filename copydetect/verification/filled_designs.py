"""a pair at full size → how likely it is an edited copy, and not one design with other content.

The trees of `relations` have seen look-alikes nearly as they are, and copies that are edited in
many ways. So a heavy edit speaks for a copy to them. The trees here have seen pages, windows and
small designs alone, and look-alikes that are edited as copies are.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from copydetect.errors import ModelError
from copydetect.models import MODELS
from copydetect.verification import evidence as found_evidence
from copydetect.verification import residual as found_residual
from copydetect.verification.residual import Residual
from copydetect.verification.trees import BoostedTrees

BUNDLED_DESIGNS = MODELS / "decision-designs.json"

NAMES = (*found_evidence.NAMES, *(f"full_{name}" for name in found_residual.NAMES))
"""What the trees may see, in order: the evidence of small copies, the residual at full size."""
_PLAIN = 0.4
"""How much of both pictures must be plain ground, for them to be designs. Of a pile's copies
the trees would surely take ten for other fillings with .2, four with .3 and one with .4."""
_SLOPE = 2.0
"""By how many times the trees' own log-odds a copy may be likely. Of 18 kinds of designs, a third
of them new to the trees and all drawn in other ways, 62 of 134 strangers stay that were reported
as copies, and all 243 copies; a pile loses 4 of 969."""


@lru_cache(maxsize=4)
def load_designs(path: Path = BUNDLED_DESIGNS) -> BoostedTrees:
    """Read the trees from JSON; ModelError where it is none."""
    try:
        return BoostedTrees.parse(json.loads(path.read_text(encoding="utf-8")), NAMES)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelError(f"{path} is not a decision on designs: {error}") from error


def most_odds(values: npt.NDArray[np.float32], residual: Residual) -> float:
    """The log-odds that two designs are copies, at most; ∞ where they are no designs.

    values: (len(NAMES),) of the pair, of which `residual` was measured.
    """
    if min(residual["plain"], residual["plain_reference"]) < _PLAIN:
        return math.inf
    return _SLOPE * float(load_designs().sums(values[None])[0])
