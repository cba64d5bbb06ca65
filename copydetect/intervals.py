"""Confidence intervals of measured shares."""

from __future__ import annotations

import math

_Z = 1.959963984540054
"""95 % of a normal distribution lies within this many standard deviations of the mean."""


def wilson(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (JASA 1927); 0 to 1 where nothing was counted.

    `scipy.stats.binomtest(right, count).proportion_ci(method="wilson")` gives the same, but every
    run would wait for that module to load.
    """
    if not count:
        return 0.0, 1.0
    share, z2 = right / count, _Z**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    spread = math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    half = _Z * spread / (1 + z2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)
