"""Two pictures that lie on each other → which of them was compressed first.

A copy of a JPEG keeps the errors of its compression, through edits of tone and colour, mirroring,
turning, cropping, resizing and warping: laid back onto the JPEG, its coefficients are at multiples
of the JPEG's steps, up to what the copy's own compression has added. Those of the picture that the
JPEG was made from are anywhere between: spread evenly, but all within half a step, for the JPEG has
rounded them. So where the comb of one picture shows in the other it is the older one, and where it
has rounded the other it is the younger (double quantisation of Lukáš and Fridrich, DFRWS 2003,
between two files; at blocks that are not aligned Bianchi and Piva, TIFS 2012). Where both have
their blocks in one place, the values of a copy have gaps: those that no multiple of the older
steps is rounded to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from copydetect.images.compression import coarsest_steps, own_steps
from copydetect.verification.laid_blocks import POSITIONS, LaidBlocks
from copydetect.verification.pair_images import Floats

_COARSE = 4
"""Finer steps are hidden by what a second compression adds, if there are coarser ones."""
_PERIODS, _PERIODS_RESAMPLED = 12, 4.5
"""Larger coefficients are not looked at, of a picture that was resampled still fewer: what
interpolation has changed of them hides the comb."""
_FEWEST = 100
_WEAKENED = 0.4
"""Log of what resampling may have made of coefficients."""
_NEGLIGIBLE = 1e-6
_LOW, _EARLIER = 14, 1.3
"""Of how many coefficients, the lowest, an earlier compression is looked for; steps this many times
coarser than a file's own ones are those of a third picture."""
_UNLIKE_CHANCE = 7.0
"""Standard deviations."""
_WHOLE, _RESAMPLED, _SHARED = 0.1, 0.08, 0.12
"""Mean cosine of the phase, and by how much the other one's comb shows less: where pixels lie on
pixels, where they don't, and where blocks lie on blocks."""
_WITHIN, _CLEARLY_WITHIN, _CLEARLY = 0.93, 0.16, 0.02
_PLAIN, _PLAIN_ALONE, _PLAIN_SHARED, _NO_COMB = 0.2, 0.5, 0.3, 0.08
"""The same where the steps may as well have rounded what they are said to be older than: then so
many coefficients are within half a step, or clearly more of them than by the other's steps."""
_COARSER = 1.8
"""Times the other's steps: multiples of so fine ones are near to those of any."""
_HALF_A_STEP, _MOSTLY_WITHIN, _ROUNDED, _ROUNDED_RESAMPLED = 0.55, 0.72, 0.93, 0.9
_LESS, _FAR_LESS = (0.1, 0.15), 0.4
"""Which share of coefficients has to be within half a step, and a little for what else was done;
and by how much less of them are by the other's steps, the second where blocks lie on blocks."""
_LEVELS = 25
_GAPS, _FEWEST_IN_GAPS = 0.6, 100
"""Which share of what should be there is in the gaps of a copy: .08 to .6 of 49 of one benchmark;
.83 and more of all 52 that were no copies of the finer file that they were compared with."""


def compressed_before(on_query: LaidBlocks, on_reference: LaidBlocks) -> float:
    """1 where the query shows the reference's compression, −1 the other way round, 0 where neither
    shows clearly."""
    of_query, of_reference = _trace(on_query), _trace(on_reference)
    return float(of_reference.is_older(of_query)) - float(of_query.is_older(of_reference))


@dataclass(frozen=True)
class _Trace:
    """One picture's compression in another one.

    count: of the coefficients that are looked at; comb: −1…1, mean cosine of the phase of the
    other's by the steps of this one; rounded: 0…1, the share that these steps round to the values
    that this one has; step: the usual one of the file; of_third: whether its pixels show coarser
    ones; known: whether the file says them; gaps: as of `_gaps`; laid: where it was looked for.
    """

    count: int
    comb: float
    rounded: float
    step: float
    of_third: bool
    known: bool
    gaps: float
    laid: LaidBlocks

    def is_older(self, other: _Trace) -> bool:
        """Whether the other picture was made from this one."""
        if self._leaves_gaps != other._leaves_gaps:
            return self._leaves_gaps
        return self._shows_beside(other) or other._rounds_beside(self)

    @property
    def _leaves_gaps(self) -> bool:
        """Whether the other one has gaps that this one's steps have left, and no third's."""
        return self.gaps <= _GAPS and not self.of_third

    def _shows_beside(self, other: _Trace) -> bool:
        """Whether the comb of this one shows, more than the other's, and is not what rounding has
        made of few coefficients."""
        if self.comb * math.sqrt(2 * self.count) < _UNLIKE_CHANCE:
            return False
        if self.laid.window.shares_blocks:
            return self._shows_in_place(other)
        within = self.rounded > other.rounded + _CLEARLY
        if self.laid.window.whole:
            least = _WHOLE if self.rounded < _WITHIN else _CLEARLY_WITHIN
        elif within:
            least = _PLAIN if other.count and other.comb < _NO_COMB else _PLAIN_ALONE
        else:
            least = _RESAMPLED if self.rounded >= _MOSTLY_WITHIN else _PLAIN
        if self.of_third and self.known:
            least = max(least, _PLAIN)
        return self.comb >= max(least, other.comb + _RESAMPLED)

    def _shows_in_place(self, other: _Trace) -> bool:
        """The same where blocks lie on blocks, so that multiples of two steps may meet; or the
        other one shows what is left of the steps of this one, with another tone."""
        if self.of_third or self.rounded < _MOSTLY_WITHIN:
            return False
        coarser = other.of_third or self.step >= _COARSER * other.step
        if coarser and self.comb >= max(_PLAIN_SHARED, other.comb - _PLAIN):
            return True
        if self.rounded > other.rounded + _CLEARLY:
            return self.comb >= _PLAIN_ALONE and other.comb < _CLEARLY
        return other.comb < _NO_COMB and self.comb >= max(_SHARED, other.comb + _SHARED)

    def _rounds_beside(self, other: _Trace) -> bool:
        """Whether this one is the younger, as its steps have rounded the other."""
        window = self.laid.window
        # Less contrast makes the steps of a copy large, laid back onto what it was made from.
        if not self.laid.same_tone:
            return False
        if not window.whole:
            less = other.rounded <= self.rounded - _LESS[0]
            rounded = self.rounded >= _ROUNDED_RESAMPLED and self.comb < _NO_COMB
            return window.scale >= 1 and rounded and less
        if self.rounded < _ROUNDED or self.comb >= _CLEARLY_WITHIN:
            return False
        if other.rounded <= self.rounded - _FAR_LESS or (self.of_third and not other.of_third):
            return True
        least = self.rounded - _LESS[window.shares_blocks]
        return self.comb < (_NO_COMB if window.shares_blocks else _WHOLE) and other.rounded <= least


def _trace(laid: LaidBlocks) -> _Trace:
    """The first picture's compression in the second."""
    own = np.array(own_steps(laid.tables[0], POSITIONS), np.float32)
    coarsest = np.ones_like(own)
    coarsest[:_LOW] = coarsest_steps(laid.ours[:, :_LOW])
    of_third = float(np.median(coarsest[:_LOW] / own[:_LOW])) > _EARLIER
    # Where it shows a third's, its own finer steps have rounded what was rounded before.
    steps = np.where(coarsest > own, coarsest, 1) if of_third else own
    phases = _phases(laid, steps)
    few = len(phases) < _FEWEST
    return _Trace(
        count=0 if few else len(phases),
        comb=0.0 if few else float(np.cos(2 * np.pi * phases).mean()),
        rounded=0.0 if few else float((np.abs(phases) <= _HALF_A_STEP).mean()),
        step=float(np.median(own)),
        of_third=of_third,
        known=bool(laid.tables[0]),
        gaps=_gaps(laid, own),
        laid=laid,
    )


def _phases(laid: LaidBlocks, steps: Floats) -> Floats:
    """By how much the coefficients of two pictures differ, in steps of the first one.

    Only those count that are not around 0, which is on any comb, in either picture. Resampling has
    weakened those of each position by a factor of its own.
    """
    whole = laid.window.whole
    used = (steps > 1) & (steps >= min(_COARSE, float(steps.max())))
    ours, theirs, steps = laid.ours[:, used], laid.theirs[:, used], steps[used]
    sizes = np.abs(ours)
    counted = (sizes > steps / 2) & (np.abs(theirs) > steps / 2)
    counted &= sizes < (_PERIODS if whole else _PERIODS_RESAMPLED) * steps
    if not whole:
        factors, near = np.ones_like(steps), counted
        for _ in range(2):
            away = np.abs(ours - factors * theirs)
            usual = (away * counted).sum(axis=0) / np.maximum(counted.sum(axis=0), 1)
            near = counted & (away <= 0.8 * 2 * usual + _NEGLIGIBLE)
            squares = ((one * one * near).sum(axis=0) for one in (ours, theirs))
            before, after = (np.maximum(one, _NEGLIGIBLE) for one in squares)
            factors = np.sqrt(before / after).astype(np.float32)
        theirs = theirs * factors
        counted = counted & (np.abs(np.log(factors)) < _WEAKENED)
    return np.asarray(((theirs - ours) / steps)[counted], np.float32)


def _gaps(laid: LaidBlocks, steps: Floats) -> float:
    """How many values of the second picture, by its own table, no multiple of the first one's steps
    is rounded to, beside what a smooth histogram would have there; 1 where that is not known."""
    table = laid.tables[1]
    if laid.unchanged is None or not table or not (steps > 1).any():
        return 1.0
    places = [place[::-1] for place in POSITIONS] if laid.window.turned else POSITIONS
    own = np.array(own_steps(table, places), np.float32)
    levels = np.minimum(np.abs(np.rint(laid.unchanged / own)), _LEVELS - 1).astype(np.int64)
    levels += _LEVELS * np.arange(len(own))
    counts = np.bincount(levels.ravel(), minlength=_LEVELS * len(own)).reshape(-1, _LEVELS)
    smooth = counts / 2
    smooth[:, 1:-1] += (counts[:, :-2] + counts[:, 2:]) / 4
    smooth[:, 1] = counts[:, 1:3].mean(axis=1)
    values = np.arange(_LEVELS) * own[:, None]
    away = np.abs(values - steps[:, None] * np.rint(values / steps[:, None]))
    gaps = away > own[:, None] / 2 + _NEGLIGIBLE
    gaps[:, [0, -1]] = False
    expected = float(smooth[gaps].sum())
    return float(counts[gaps].sum()) / expected if expected >= _FEWEST_IN_GAPS else 1.0
