"""Two pictures that lie on each other → the coefficients of both in the blocks of one of them.

The other one is given the tone of the first and laid onto its blocks, so that what is left of a
difference tells what compression, resampling, blur or noise have done to one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix, inverse
from copydetect.images.compression import BLOCK_PX, coefficients
from copydetect.types import Pixels
from copydetect.verification.pair_images import Floats, PairImage
from copydetect.verification.shared_window import SharedWindow, shared_window

Doubles = npt.NDArray[np.float64]

POSITIONS = tuple((row, total - row) for total in range(1, 7) for row in range(total + 1))
"""(row, column) of the coefficients that are looked at."""
_FEWEST_BLOCKS = 64
_STRIDE = 7
_SAME_COLUMN = 1e-9
_DRAWN_OVER = 2.0
"""Times the usual difference: blocks that differ by more are looked at no further."""
_SAME_TONE = 4.0


@dataclass(frozen=True, eq=False)
class LaidBlocks:
    """Blocks of a picture in which another one lies on it, drawn over in neither.

    ours, theirs: (blocks, len(POSITIONS)) coefficients of both, the other one's with the tone of
    this one; unchanged: the same of the other one as it is where blocks lie on blocks, else None;
    tables: luminance tables of both files, () for none; same_tone: whether the grey levels of both
    are the same; window: where they were looked for.
    """

    ours: Floats
    theirs: Floats
    unchanged: Floats | None
    tables: tuple[tuple[int, ...], tuple[int, ...]]
    same_tone: bool
    window: SharedWindow


def laid_blocks(
    matrix: Matrix, query: PairImage, reference: PairImage
) -> tuple[LaidBlocks, LaidBlocks] | None:
    """The reference laid onto the query, and the query onto the reference; None where they share
    too little, or cannot be seen with all of their pixels.

    matrix: query px → reference px of both at full size.
    """
    query, reference = query.at_full_size(), reference.at_full_size()
    if any(
        (one.full_width_px, one.full_height_px) != (one.width_px, one.height_px)
        for one in (query, reference)
    ):
        return None
    on_query = _laid(matrix, query, reference)
    if on_query is None:
        return None
    on_reference = _laid(inverse(matrix), reference, query)
    return None if on_reference is None else (on_query, on_reference)


def _laid(matrix: Matrix, first: PairImage, second: PairImage) -> LaidBlocks | None:
    window = shared_window(matrix, first.pixels, second.pixels)
    if window is None or window.blocks.sum() < _FEWEST_BLOCKS:
        return None
    grey = _luma(window.of_first(first.pixels))
    near = window.near(second.pixels).astype(np.float32)
    foretold, same_tone = _foretold(window, near, grey)
    away = _block_means(np.abs(grey - foretold))
    shown = window.blocks.ravel()
    usual = shown & (away <= _DRAWN_OVER * float(np.median(away[shown])))
    ours, theirs = (coefficients(one, POSITIONS)[usual] for one in (grey, foretold))
    unchanged = None
    if window.shares_blocks:
        unchanged = coefficients(window.laid(_luma(near)), POSITIONS)[usual]
    tables = first.luma_table, second.luma_table
    return LaidBlocks(ours, theirs, unchanged, tables, same_tone, window)


def _foretold(window: SharedWindow, near: Floats, grey: Floats) -> tuple[Floats, bool]:
    """The grey levels that the first picture should have by the colours of the second: a linear
    mixture of them, then a curve; and whether these leave the levels as they are.

    near: as of `window.near`; grey: (h, w) levels of the first. Places that differ too much to be
    foretold do not count.
    """
    y, x = np.mgrid[2 : window.height : _STRIDE, 2 : window.width : _STRIDE]
    shown = window.blocks[y // BLOCK_PX, x // BLOCK_PX]
    y, x = y[shown], x[shown]
    known = window.sampled(near, np.stack([x, y], axis=1).astype(np.float64)).astype(np.float64)
    meant = grey[y, x].astype(np.float64)
    columns = np.column_stack([known, np.ones(len(known))])
    kept = np.ones(len(meant), np.bool_)
    for _ in range(2):
        weights = _least_squares(columns[kept], meant[kept])
        powers = np.vander(columns @ weights / 128 - 1, 4, increasing=True)
        curve = _least_squares(powers[kept], meant[kept])
        away = np.abs(powers @ curve - meant)
        kept = away <= _DRAWN_OVER * float(np.median(away)) + 1
    changed = float(np.abs(powers @ curve - known @ _LUMA[0]).mean())
    weights[3] -= 128
    mixed = np.asarray(cv2.transform(near, weights[None] / 128), np.float32).reshape(near.shape[:2])
    *rising, highest = curve.astype(np.float32)
    foretold = mixed * highest
    for weight in rising[:0:-1]:
        foretold += weight
        foretold *= mixed
    foretold += rising[0]
    return window.laid(foretold), changed < _SAME_TONE


def _least_squares(columns: Doubles, values: Doubles) -> Doubles:
    """Weights of a few columns, the smallest where several do, as where all colours are grey."""
    products = columns.T @ columns, columns.T @ values
    return np.asarray(np.linalg.lstsq(*products, rcond=_SAME_COLUMN)[0], np.float64)


def _block_means(values: Floats) -> Floats:
    height, width = (side // BLOCK_PX for side in values.shape)
    means = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(means.ravel(), np.float32)


def _luma(pixels: Pixels | Floats) -> Floats:
    """(h, w) grey levels, not rounded: the luminance that a JPEG has stored."""
    grey = cv2.transform(pixels.astype(np.float32), _LUMA)
    return np.asarray(grey, np.float32).reshape(pixels.shape[:2])


_LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)
