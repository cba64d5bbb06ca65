"""Two pictures that lie on each other → which of them was compressed first.

A copy of a JPEG keeps the errors of its compression, through edits of tone and colour, mirroring,
turning, cropping and resizing: laid back onto the JPEG, its coefficients are at multiples of the
JPEG's steps, up to what the copy's own compression has added. Those of the picture that the JPEG
was made from are anywhere between: spread evenly, but all within half a step, for the JPEG has
rounded them. So where the comb of one picture shows in the other it is the older one, and where it
has rounded the other it is the younger (double quantisation of Lukáš and Fridrich, DFRWS 2003,
between two files).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix, inverse
from copydetect.images.compression import (
    BLOCK_PX,
    coarsest_steps,
    coefficients,
    on_the_comb,
    own_steps,
)
from copydetect.types import Pixels
from copydetect.verification.pair_images import Floats, PairImage
from copydetect.verification.shared_window import SharedWindow, shared_window

Doubles = npt.NDArray[np.float64]

_STRIDE = 5
_SAME_COLUMN = 1e-9
_DRAWN_OVER = 2.0
"""Times the usual difference: blocks that differ by more are looked at no further."""
_FINER, _MUCH_FINER = 1.25, 1.8
"""Where both pictures have their blocks in one place, the steps of one tell nothing of the other
unless those are this many times coarser; the second where the other's steps have not rounded what
this one has, either: both may show the comb of a third, or the coarser are multiples of the finer.
"""
_FEWEST = 150
_NEAR_ZERO = 4
"""Of a resized picture, coefficients up to this many steps are looked at: what interpolation has
changed of larger ones hides the comb."""
_WEAKENED = math.log(1.25)
_NEGLIGIBLE = 1e-6
_SHOWS, _SHOWS_ENLARGED, _CLEARLY = 0.18, 0.25, 0.08
"""Mean cosine of the phase, the same where the larger picture is said to be the copy, and how much
less the other one's comb shows."""
_ROUNDED, _HALF_A_STEP = 0.9, 0.55
"""Which share of coefficients has to be within half a step, and a little for what else was done.
Noise on the older picture that hides its comb leaves .83 there at most."""
_NEAR = 0.5
"""The share without which a comb is chance."""
_CLOSER, _MUCH_CLOSER, _SOME_COMB = 0.8, 0.2, 0.1
"""Differences this small beside those of rounding, and this much smaller than by the other's steps,
are none of rounding; what comb they have at least."""
_NO_COMB, _SAME_TONE = 0.06, 4.0
"""Beside a comb, or with another tone, it is not told that steps have rounded anything: less
contrast makes the steps of a copy large, laid back onto what it was made from."""


def compressed_before(matrix: Matrix, query: PairImage, reference: PairImage) -> float:
    """1 where the query shows the reference's compression, −1 the other way round, 0 where neither
    shows clearly.

    matrix: query px → reference px of these images, which are not reduced.
    """
    of_query = _trace(matrix, query, reference)
    of_reference = _trace(inverse(matrix), reference, query)
    if of_query is None or of_reference is None:
        return 0.0
    if of_reference.shows_beside(of_query) or of_query.rounds_beside(of_reference):
        return 1.0
    if of_query.shows_beside(of_reference) or of_reference.rounds_beside(of_query):
        return -1.0
    return 0.0


@dataclass(frozen=True)
class _Trace:
    """One picture's compression in another one.

    comb: −1…1, mean cosine of the phase of the other's coefficients by the steps of this one;
    rounded: 0…1, the share that these steps round to the values that this one has, 0 where there
    are too few; spread: the median difference beside that of rounding, which is 1; step: the usual
    one; of_third: whether its pixels show an earlier JPEG that is not the other one; same_tone:
    whether the grey levels of both are the same; known: whether the steps are those of the file;
    window: where it was looked for.
    """

    comb: float
    rounded: float
    spread: float
    step: float
    of_third: bool
    same_tone: bool
    known: bool
    window: SharedWindow

    def shows_beside(self, other: _Trace) -> bool:
        """Whether this one is the older: the other one is nearer to it than its steps would have
        left it."""
        shares_blocks = self.window.shares_blocks
        if self.rounded < _NEAR or (shares_blocks and not self._can_be_told_from(other)):
            return False
        least = _SHOWS_ENLARGED if self._is_smaller else _SHOWS
        clearly = self.comb >= max(least, other.comb + _CLEARLY)
        closer = self.window.whole and self.spread <= min(_CLOSER, other.spread - _MUCH_CLOSER)
        return clearly or (closer and self.comb >= _SOME_COMB)

    def rounds_beside(self, other: _Trace) -> bool:
        """Whether this one is the younger; or the coarser of two copies of a third, from which the
        finer one hardly differs, unless that is smaller."""
        if self.window.scale < 1:
            return False
        without_comb = self.same_tone and self.comb < _NO_COMB
        most = self.rounded - _CLEARLY
        return without_comb and self.rounded >= _ROUNDED and other.rounded <= most

    @property
    def _is_smaller(self) -> bool:
        """Whether the other one has more px for what both show."""
        return self.window.scale > 1

    def _can_be_told_from(self, other: _Trace) -> bool:
        """Whether this comb cannot be that of the other one, in blocks that both share."""
        finer = _MUCH_FINER if other.spread < _CLOSER else _FINER
        finer_file = not other.known or self.step >= finer * other.step
        return self.known and finer_file and not other.of_third


def _trace(matrix: Matrix, first: PairImage, second: PairImage) -> _Trace | None:
    """The first picture's compression in the second; None where they don't lie on each other."""
    window = shared_window(matrix, first.pixels, second.pixels)
    if window is None:
        return None
    grey = _luma(window.of_first(first.pixels))
    laid = window.of_second(second.pixels)
    foretold = _foretold(laid, grey)
    same_tone = float(np.abs(foretold - _luma(laid)).mean()) < _SAME_TONE
    away = _block_means(np.abs(grey - foretold))
    usual = away <= _DRAWN_OVER * float(np.median(away))
    ours, theirs = coefficients(grey), coefficients(foretold)
    shown = coarsest_steps(ours)
    steps = _steps(first, shown, window.shares_blocks)
    phases = []
    for number, step in enumerate(steps):
        if step > 1:
            counted = usual & on_the_comb(ours[:, number], step)
            found = _phases(ours[counted, number] / step, theirs[counted, number] / step, window)
            phases.append(found)
    every = np.concatenate(phases) if phases else np.zeros(0, np.float32)
    of_third = _shows_another(shown, own_steps(first.luma_table), own_steps(second.luma_table))
    told = (float(np.median(steps)), of_third, same_tone, bool(first.luma_table), window)
    if len(every) < _FEWEST:
        # Without any steps nothing was rounded; of a few coefficients nothing is known.
        return None if phases else _Trace(0.0, 0.0, math.inf, *told)
    comb = float(np.cos(2 * np.pi * every).mean())
    rounded = float((np.abs(every) <= _HALF_A_STEP).mean())
    return _Trace(comb, rounded, 4 * float(np.median(np.abs(every))), *told)


def _phases(ours: Floats, theirs: Floats, window: SharedWindow) -> Floats:
    """By how much the coefficients of two pictures differ; all in steps of the first one.

    Of a resized picture interpolation has weakened each coefficient by a factor of its own.
    """
    if window.whole:
        return theirs - ours
    small = np.abs(ours) < _NEAR_ZERO
    ours, theirs = ours[small], theirs[small]
    factor = np.float32(1)
    for _ in range(2):
        away = np.abs(ours - factor * theirs)
        near = away <= _DRAWN_OVER * np.median(away) + _NEGLIGIBLE if len(away) else away > 0
        weight = float(np.square(theirs[near]).sum())
        factor = np.float32(np.vdot(ours[near], theirs[near]) / max(weight, _NEGLIGIBLE))
    return factor * theirs - ours if abs(math.log(max(factor, 1e-3))) < _WEAKENED else ours[:0]


def _shows_another(shown: Sequence[int], own: Sequence[int], other: Sequence[int]) -> bool:
    """Whether most coefficients have steps that are neither a file's own ones nor nearly the
    other's: with more contrast they have become larger."""
    earlier = [pair for *pair, step in zip(shown, other, own, strict=True) if pair[0] > step]
    return sum(max(pair) > _FINER * min(pair) for pair in earlier) > len(shown) / 2


def _steps(image: PairImage, shown: Sequence[int], shares_blocks: bool) -> Sequence[int]:
    """By how much the coefficients were rounded at each of `POSITIONS`: what the file says, or what
    the pixels show of a coarser JPEG before it; this is not told from the other picture in blocks
    that both share."""
    own = own_steps(image.luma_table)
    if shares_blocks and image.luma_table:
        return own
    return [max(pair) for pair in zip(own, shown, strict=True)]


def _foretold(colours: Floats, grey: Floats) -> Floats:
    """The grey levels that one picture should have by the colours of the other: a linear mixture
    of them, then a curve. Places that differ too much to be foretold do not count."""
    some = np.s_[::_STRIDE, ::_STRIDE]
    known, meant = (each[some].astype(np.float64) for each in (colours, grey))
    known, meant = known.reshape(-1, 3), meant.ravel()
    known = np.column_stack([known, np.ones(len(known))])
    kept = np.ones(len(meant), np.bool_)
    for _ in range(2):
        weights = _least_squares(known[kept], meant[kept])
        powers = np.vander(known @ weights / 128 - 1, 4, increasing=True)
        curve = _least_squares(powers[kept], meant[kept])
        away = np.abs(powers @ curve - meant)
        kept = away <= _DRAWN_OVER * float(np.median(away)) + 1
    weights[3] -= 128
    mixed = np.asarray(cv2.transform(colours, weights[None] / 128), np.float32)
    constant, *rising = curve.astype(np.float32).tolist()
    foretold = np.full(mixed.shape[:2], np.float32(constant))
    power = np.ones_like(foretold)
    for weight in rising:
        power *= mixed.reshape(foretold.shape)
        foretold += np.float32(weight) * power
    return foretold


def _least_squares(columns: Doubles, values: Doubles) -> Doubles:
    """Weights of a few columns, the smallest where several do, as where all colours are grey."""
    products = columns.T @ columns, columns.T @ values
    return np.asarray(np.linalg.lstsq(*products, rcond=_SAME_COLUMN)[0], np.float64)


def _block_means(values: Floats) -> Floats:
    height, width = (side // BLOCK_PX for side in values.shape)
    blocks = values.reshape(height, BLOCK_PX, width, BLOCK_PX)
    return np.asarray(blocks.mean(axis=(1, 3)).ravel(), np.float32)


def _luma(pixels: Pixels | Floats) -> Floats:
    """(h, w) grey levels, not rounded: the luminance that a JPEG has stored."""
    grey = cv2.transform(pixels.astype(np.float32), _LUMA)
    return np.asarray(grey, np.float32).reshape(pixels.shape[:2])


_LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)
