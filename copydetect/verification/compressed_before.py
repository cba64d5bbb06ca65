"""Two pictures that lie on each other, pixel on pixel → which of them was compressed first.

A copy of a JPEG keeps the errors of its compression, through edits of tone and colour, mirroring,
turning and cropping: laid back onto the JPEG, its coefficients are at multiples of the JPEG's
steps, up to what the copy's own compression has added. Those of the picture that the JPEG was made
from are anywhere between: spread evenly, but all within half a step, for the JPEG has rounded
them. So where the comb of one picture shows in the other it is the older one, and where it has
rounded the other it is the younger (double quantisation of Lukáš and Fridrich, DFRWS 2003, between
two files).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix, inverse, outline, project
from copydetect.images.compression import (
    BLOCK_PX,
    POSITIONS,
    coarsest_step,
    coefficients,
    on_the_comb,
    own_steps,
)
from copydetect.types import Pixels
from copydetect.verification.pair_images import Floats, PairImage

_WINDOW_PX = 384
"""Side of the part that is looked at, at most."""
_OFF_PX = 0.6
"""By how much a transform may differ from one that moves whole pixels, in that part."""
_LEAST_PX = 64
_STRIDE = 5
_DRAWN_OVER = 2.0
"""Times the usual difference: blocks that differ by more are looked at no further."""
_FINER, _MUCH_FINER = 1.25, 1.8
"""Where both pictures have their blocks in one place, the steps of one tell nothing of the other
unless those are this many times coarser; the second where the other's steps have not rounded what
this one has, either: both may show the comb of a third, or the coarser are multiples of the finer.
"""
_FEWEST = 150
_SHOWS, _CLEARLY = 0.18, 0.08
"""Mean cosine of the phase, and how much less the other one's comb shows."""
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
    one; same_tone: whether the grey levels of both are the same; shares_blocks: whether the blocks
    of both are in the same places; known: whether the steps are those of the file.
    """

    comb: float
    rounded: float
    spread: float
    step: float
    same_tone: bool
    shares_blocks: bool
    known: bool

    def shows_beside(self, other: _Trace) -> bool:
        """Whether this one is the older: the other one is nearer to it than its steps would have
        left it."""
        if self.rounded < _NEAR or (self.shares_blocks and not self._can_be_told_from(other)):
            return False
        clearly = self.comb >= max(_SHOWS, other.comb + _CLEARLY)
        closer = self.spread <= min(_CLOSER, other.spread - _MUCH_CLOSER)
        return clearly or (closer and self.comb >= _SOME_COMB)

    def rounds_beside(self, other: _Trace) -> bool:
        """Whether this one is the younger; or the coarser of two copies of a third, from which the
        finer one hardly differs."""
        without_comb = self.same_tone and self.comb < _NO_COMB
        most = self.rounded - _CLEARLY
        return without_comb and self.rounded >= _ROUNDED and other.rounded <= most

    def _can_be_told_from(self, other: _Trace) -> bool:
        """Whether this comb cannot be that of the other one, in blocks that both share."""
        finer = _MUCH_FINER if other.spread < _CLOSER else _FINER
        return self.known and other.known and self.step >= finer * other.step


@dataclass(frozen=True)
class _Window:
    """A part of one picture that begins with a block, and where it lies in another one.

    left, top, width, height: in px of the first; linear, offset: (2, 2) and (2,), px of the part →
    px of the second, whole ones.
    """

    left: int
    top: int
    width: int
    height: int
    linear: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]

    @property
    def shares_blocks(self) -> bool:
        """Whether the blocks of both are in the same places."""
        ends = np.array([[0, 0], [BLOCK_PX - 1, BLOCK_PX - 1]]) @ self.linear.T + self.offset
        return not (ends.min(axis=0) % BLOCK_PX).any()

    def of_first(self, pixels: Pixels) -> Pixels:
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def of_second(self, pixels: Pixels) -> Pixels:
        """The second picture as it lies on the part."""
        moves = np.column_stack([self.linear, self.offset])
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        size = (self.width, self.height)
        return np.asarray(cv2.warpAffine(pixels, moves, size, flags=flags), np.uint8)


def _trace(matrix: Matrix, first: PairImage, second: PairImage) -> _Trace | None:
    """The first picture's compression in the second; None where they don't lie pixel on pixel."""
    window = _window(matrix, first.pixels, second.pixels)
    if window is None:
        return None
    grey = _luma(window.of_first(first.pixels))
    laid = window.of_second(second.pixels)
    foretold = _foretold(laid, grey)
    same_tone = float(np.abs(foretold - _luma(laid)).mean()) < _SAME_TONE
    away = _block_means(np.abs(grey - foretold))
    usual = away <= _DRAWN_OVER * float(np.median(away))
    ours, theirs = coefficients(grey), coefficients(foretold)
    steps = _steps(first, ours, window.shares_blocks)
    phases = []
    for number, step in enumerate(steps):
        if step > 1:
            counted = usual & on_the_comb(ours[:, number], step)
            phases.append((theirs[counted, number] - ours[counted, number]) / step)
    every = np.concatenate(phases) if phases else np.zeros(0, np.float32)
    told = (float(np.median(steps)), same_tone, window.shares_blocks, bool(first.luma_table))
    if len(every) < _FEWEST:
        # Without any steps nothing was rounded; of a few coefficients nothing is known.
        return _Trace(0.0, 0.0, 0.0 if phases else math.inf, *told)
    comb = float(np.cos(2 * np.pi * every).mean())
    rounded = float((np.abs(every) <= _HALF_A_STEP).mean())
    return _Trace(comb, rounded, 4 * float(np.median(np.abs(every))), *told)


def _steps(image: PairImage, found: Floats, shares_blocks: bool) -> Sequence[int]:
    """By how much the coefficients of `coefficients` were rounded at each of `POSITIONS`: what the
    file says. Where it says nothing, or that nothing was, the pixels may show a former JPEG; this
    is not told from the other picture in blocks that both share."""
    steps = own_steps(image.luma_table)
    if max(steps) > 1 or (image.luma_table and shares_blocks):
        return steps
    return [coarsest_step(found[:, number]) for number in range(len(POSITIONS))]


def _window(matrix: Matrix, first: Pixels, second: Pixels) -> _Window | None:
    """The middle of what both share; None where pixels don't lie on pixels."""
    linear = np.rint(matrix[:2, :2])
    if abs(round(float(np.linalg.det(linear)))) != 1:
        return None
    height, width = first.shape[:2]
    middle = np.array([[width / 2, height / 2]])
    offset = np.rint(project(matrix, middle)[0] - linear @ middle[0])
    whole = np.eye(3)
    whole[:2, :2], whole[:2, 2] = linear, offset
    shared = project(inverse(whole), outline(second.shape[1], second.shape[0])) + 0.5
    low = np.maximum(np.rint(shared.min(axis=0)), 0)
    high = np.minimum(np.rint(shared.max(axis=0)), [width, height])
    low += np.maximum(high - low - _WINDOW_PX, 0) // 2
    low = -(-low // BLOCK_PX) * BLOCK_PX
    size = np.minimum(high - low, _WINDOW_PX) // BLOCK_PX * BLOCK_PX
    if size.min() < _LEAST_PX:
        return None
    corners = low + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size
    if np.abs(project(matrix, corners) - project(whole, corners)).max() > _OFF_PX:
        return None
    (left, top), (across, down) = low.astype(int).tolist(), size.astype(int).tolist()
    return _Window(left, top, across, down, linear, linear @ low + offset)


def _foretold(colours: Pixels, grey: Floats) -> Floats:
    """The grey levels that one picture should have by the colours of the other: a linear mixture
    of them, then a curve. Places that differ too much to be foretold do not count."""
    some = np.s_[::_STRIDE, ::_STRIDE]
    known, meant = colours[some].reshape(-1, 3).astype(np.float64), grey[some].ravel()
    known = np.column_stack([known, np.ones(len(known))])
    kept = np.ones(len(meant), np.bool_)
    for _ in range(2):
        weights, *_ = np.linalg.lstsq(known[kept], meant[kept], rcond=None)
        laid = known @ weights / 128 - 1
        curve = np.polynomial.polynomial.polyfit(laid[kept], meant[kept], 3)
        away = np.abs(np.polynomial.polynomial.polyval(laid, curve) - meant)
        kept = away <= _DRAWN_OVER * float(np.median(away)) + 1
    weights[3] -= 128
    mixed = np.asarray(cv2.transform(colours.astype(np.float32), weights[None] / 128), np.float32)
    constant, *rising = curve.astype(np.float32).tolist()
    foretold = np.full(mixed.shape[:2], np.float32(constant))
    power = np.ones_like(foretold)
    for weight in rising:
        power *= mixed.reshape(foretold.shape)
        foretold += np.float32(weight) * power
    return foretold


def _block_means(values: Floats) -> Floats:
    height, width = (side // BLOCK_PX for side in values.shape)
    blocks = values.reshape(height, BLOCK_PX, width, BLOCK_PX)
    return np.asarray(blocks.mean(axis=(1, 3)).ravel(), np.float32)


def _luma(pixels: Pixels) -> Floats:
    """(h, w) grey levels, not rounded: the luminance that a JPEG has stored."""
    grey = cv2.transform(pixels.astype(np.float32), _LUMA)
    return np.asarray(grey, np.float32).reshape(pixels.shape[:2])


_LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)
