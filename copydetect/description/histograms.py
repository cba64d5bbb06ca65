"""Gradient histograms around keypoints: SIFT's descriptor, for all keypoints of an image at once.

4 × 4 cells of 8 directions each, relative to a keypoint's own scale and direction, as in SIFT
(Lowe 2004). The gradient is sampled sparsely in blurred images, as in DAISY (Tola et al. 2010), so
that all is a few array operations, which take a third of the time of a loop over pixels.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.types import Floats

Grey = npt.NDArray[np.uint8]

DIMENSION = 128
_CELLS, _DIRECTIONS = 4, 8
_CELL_DIAMETERS = 1.5
"""Side of a cell in diameters of the keypoint."""
_SAMPLES = 12
"""Samples per side, over 4.8 cells: those of the outer half cells fade out."""
_SAMPLED_CELLS = 4.8
_SMALLEST_LEVEL_PX = 4
_MOST_LEVELS = 12
_LARGEST_SHARE = 0.2


def gradient_histograms(
    grey: Grey, x_px: Floats, y_px: Floats, diameter_px: Floats, angle_deg: Floats
) -> Floats:
    """(n, 128) float32: the square roots of L1-normalised histograms, unit rows (RootSIFT).

    grey: (h, w) uint8; x_px, y_px: (n,) positions, a pixel's centre at whole numbers; diameter_px,
    angle_deg: (n,) as OpenCV gives them, the diameter being twice the keypoint's σ. Laid out as 4
    rows × 4 columns × 8 directions like OpenCV's: `keypoints.mirror_order` mirrors it.
    """
    if not len(x_px):
        return np.zeros((0, DIMENSION), np.float32)
    along, across = _gradients(grey, x_px, y_px, diameter_px, angle_deg)
    shares = _by_direction(along, across).reshape(len(x_px), -1, _DIRECTIONS)
    histograms = (_cells() @ shares).reshape(-1, DIMENSION)
    norms = np.linalg.norm(histograms, axis=1, keepdims=True)
    histograms = np.minimum(histograms / np.maximum(norms, 1e-9), _LARGEST_SHARE)
    sums = np.maximum(histograms.sum(axis=1, keepdims=True), 1e-12)
    return np.asarray(np.sqrt(histograms / sums), np.float32)


@lru_cache(maxsize=1)
def _cells() -> Floats:
    """(16, s²): what each sample around a keypoint adds to each cell, row by row."""
    places = (np.arange(_SAMPLES) - (_SAMPLES - 1) / 2) * (_SAMPLED_CELLS / _SAMPLES)
    centres = np.arange(_CELLS) - (_CELLS - 1) / 2
    near = np.maximum(0, 1 - np.abs(places - centres[:, None]))
    window = np.exp(-(places[:, None] ** 2 + places**2) / (_CELLS**2 / 2))
    cells = near[:, None, :, None] * near[None, :, None, :] * window
    return np.ascontiguousarray(cells.reshape(_CELLS**2, -1), np.float32)


@lru_cache(maxsize=1)
def _grid() -> Floats:
    """(3, (s + 2)²): 1, x and y of the samples and of a border around them, in diameters."""
    step = _CELL_DIAMETERS * _SAMPLED_CELLS / _SAMPLES
    places = (np.arange(_SAMPLES + 2) - (_SAMPLES + 1) / 2) * step
    y, x = np.meshgrid(places, places, indexing="ij")
    return np.stack([np.ones(x.size), x.ravel(), y.ravel()]).astype(np.float32)


def _by_direction(along: Floats, across: Floats) -> Floats:
    """(m, 8): the length of each of m gradients, shared between the two nearest directions."""
    lengths, angles = cv2.cartToPolar(along, -across)
    turns = angles.ravel() * np.float32(_DIRECTIONS / (2 * np.pi))
    lower = turns.astype(np.int32)
    upper_share = lengths.ravel() * (turns - lower)
    shares = np.zeros((len(turns), _DIRECTIONS), np.float32)
    rows = np.arange(len(turns))
    shares[rows, lower % _DIRECTIONS] = lengths.ravel() - upper_share
    shares[rows, (lower + 1) % _DIRECTIONS] = upper_share
    return shares


def _gradients(
    grey: Grey, x_px: Floats, y_px: Floats, diameter_px: Floats, angle_deg: Floats
) -> tuple[Floats, Floats]:
    """Differences along and across each keypoint's direction, at its scale, (n · s²,) each.

    0 outside the image.
    """
    levels = _blurred(grey)
    level = np.clip(np.rint(2 * np.log2(diameter_px / 2)), 0, len(levels) - 1).astype(np.intp)
    zoom = np.exp2(-(level // 2))
    angle = np.deg2rad(angle_deg)
    cosine, sine = (zoom * diameter_px * part for part in (np.cos(angle), np.sin(angle)))
    columns = np.stack([zoom * x_px, cosine, -sine], axis=1).astype(np.float32) @ _grid()
    rows = np.stack([zoom * y_px, sine, cosine], axis=1).astype(np.float32) @ _grid()
    heights, widths = np.array([one.shape for one in levels], np.float32).T
    inside_columns = np.clip(columns, 0, (widths - 1)[level, None])
    inside_rows = np.clip(rows, 0, (heights - 1)[level, None])
    shape = (len(x_px), _SAMPLES + 2, _SAMPLES + 2)
    inside = ((columns == inside_columns) & (rows == inside_rows)).reshape(shape)
    inside_rows += (np.cumsum(heights) - heights).astype(np.float32)[level, None]
    patches = cv2.remap(
        _stacked(levels),
        inside_columns.reshape(-1, shape[2]),
        inside_rows.reshape(-1, shape[2]),
        cv2.INTER_LINEAR,
    ).reshape(shape)
    along = (patches[:, 1:-1, 2:] - patches[:, 1:-1, :-2]) * inside[:, 1:-1, 1:-1]
    across = (patches[:, 2:, 1:-1] - patches[:, :-2, 1:-1]) * inside[:, 1:-1, 1:-1]
    return along.ravel(), across.ravel()


def _blurred(grey: Grey) -> list[Floats]:
    """Gaussian blurs of σ = 1, √2, 2, … px; from each 2nd on, at half the size of the one before.

    Level l is for diameters about 2 · 2^(l/2) px, and its pixels are 2^(l // 2) px apart.
    """
    # As it is, an image counts as blurred by .5 px (Lowe 2004).
    levels = [cv2.GaussianBlur(grey.astype(np.float32), (7, 7), 0.75**0.5)]
    while len(levels) < _MOST_LEVELS:
        levels.append(cv2.GaussianBlur(levels[-1], (7, 7), 1.0))
        half = cv2.GaussianBlur(levels[-1], (9, 9), 2**0.5)[::2, ::2]
        if min(half.shape) < _SMALLEST_LEVEL_PX:
            break
        levels.append(np.ascontiguousarray(half))
    return [np.asarray(level, np.float32) for level in levels]


def _stacked(levels: list[Floats]) -> Floats:
    """All levels in one image, one below the other."""
    stacked = np.zeros((sum(len(level) for level in levels), levels[0].shape[1]), np.float32)
    top = 0
    for level in levels:
        stacked[top : top + len(level), : level.shape[1]] = level
        top += len(level)
    return stacked
