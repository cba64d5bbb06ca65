"""Whitening, and scores that mean the same for every image.

A cosine of 0.6 is a copy among photos and nothing among pages of text, which all look alike. Two
corrections:

- **background**: what an image has in common with a bundled set of unrelated pictures is taken out
of its vector (Yokoo, arXiv 2112.04323).
- **density**: how similar the image is to its own neighbours in the collection (the idea of CSLS,
  arXiv 1710.04087). Needs nothing but the neighbour lists that the search returns anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copydetect.errors import OptionError
from copydetect.types import Floats, Ints

_SUBTRACTED, _NEAREST = 0.35, 10
"""How much of the mean of how many nearest background vectors is taken off a vector."""
_ROWS_TOGETHER = 256
_WHOLE = np.float32(2048)
"""Of unit vectors times this, products of whole numbers stay below 2²⁴, where float32 ends to be
exact."""


@dataclass(frozen=True)
class Whitening:
    """A linear map and L2: vectors = unit(features @ matrix - offset).

    matrix: (f, d) float32; offset: (d,) float32.
    """

    matrix: Floats
    offset: Floats

    def apply(self, features: Floats) -> Floats:
        """Unit vectors (n, d) of features (n, f)."""
        projected: Floats = features @ self.matrix - self.offset
        return unit_rows(projected)


def fit_whitening(features: Floats, dimension: int, power: float = 0.5) -> Whitening:
    """PCA whitening to `dimension` (Jégou and Chum, ECCV 2012), of features (n, f).

    Every direction is divided by its variance to the `power`: ½ whitens, less does so in part, 0
    only turns. OptionError where there are fewer features than the directions need.
    """
    count, width = features.shape
    if not 1 <= dimension <= min(count - 1, width):
        raise OptionError(
            f"cannot whiten {count} features of {width} numbers to {dimension} dimensions: "
            f"at most {max(0, min(count - 1, width))}"
        )
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features - mean
    variances, directions = np.linalg.eigh(centred.T @ centred / count)
    strongest = np.argsort(-variances, kind="stable")[:dimension]
    floor = 1e-9 * max(float(variances.max()), 1e-30)
    matrix = directions[:, strongest] / np.maximum(variances[strongest], floor) ** power
    return Whitening(matrix.astype(np.float32), (mean @ matrix).astype(np.float32))


def fit_discriminant(
    features: Floats, edited: Floats, dimension: int, shrinkage: float = 0.5
) -> Whitening:
    """The directions in which images differ most for what edits change (LDA, closed form).

    features: (n, f) of n images; edited: (n, f) of one edited copy of each. Within-image
    covariance comes from the differences, between-image covariance from the features;
    `shrinkage` adds the identity to the first, in shares of its mean variance. Directions are
    scaled to equal within-image variance, so that those that tell images apart weigh most.
    """
    count, width = features.shape
    if edited.shape != features.shape:
        raise OptionError(f"edited must have the shape {features.shape}, not {edited.shape}")
    if not 1 <= dimension <= min(count - 1, width):
        raise OptionError(f"cannot project {count} features of {width} numbers to {dimension}")
    everything = np.concatenate([features, edited]).astype(np.float64)
    mean = everything.mean(axis=0)
    total = (everything - mean).T @ (everything - mean) / len(everything)
    differences = (features - edited).astype(np.float64)
    within = differences.T @ differences / (2 * count)
    within += shrinkage * np.trace(within) / width * np.eye(width)
    spread, basis = np.linalg.eigh(within)
    whiten = basis / np.sqrt(spread)
    ratios, rotation = np.linalg.eigh(whiten.T @ total @ whiten)
    best = np.argsort(-ratios, kind="stable")[:dimension]
    matrix = whiten @ rotation[:, best]
    return Whitening(matrix.astype(np.float32), (mean @ matrix).astype(np.float32))


def normalize_vectors(vectors: Floats, background: Floats) -> tuple[Floats, Floats]:
    """Vectors (n, d) and weights (n,) ≥ 0, both float32, without what is like the background.

    From a vector .35 times the mean of its ten nearest background vectors is subtracted (Yokoo,
    arXiv 2112.04323). What is left has length 1 again, and the score of a pair is its cosine times
    both weights, which are the squares of the lengths that were left: a picture like many others
    says less. A background of no vectors leaves vectors as they are, and weights at 1. vectors:
    (n, d) and background: (b, d), unit rows. OptionError where the background is too small.
    """
    if not len(background):
        return vectors, np.ones(len(vectors), np.float32)
    rows = _nearest(vectors, background)
    left = vectors - np.float32(_SUBTRACTED) * background[rows].mean(axis=1)
    return unit_rows(left), np.einsum("nd,nd->n", left, left)


def unit_rows(vectors: Floats) -> Floats:
    """Rows scaled to length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: Floats = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return units


def _nearest(vectors: Floats, background: Floats) -> Ints:
    """Rows (n, 10) of the nearest background vectors, the nearest first."""
    if len(background) < _NEAREST:
        raise OptionError(
            f"the background has {len(background)} images; it needs at least {_NEAREST}, and "
            "hundreds are better"
        )
    rows = [np.empty((0, _NEAREST), np.int64)]
    # A product sums in another order when it has another shape or a row another place in it. Sums
    # of small whole numbers are exact in any order: a result depends on nothing but its vector.
    others = np.rint(background.T * _WHOLE)
    for start in range(0, len(vectors), _ROWS_TOGETHER):
        block = np.rint(vectors[start : start + _ROWS_TOGETHER] * _WHOLE)
        scores = block @ others
        order = np.argpartition(-scores, _NEAREST - 1, axis=1)[:, :_NEAREST]
        values = np.take_along_axis(scores, order, axis=1)
        ranked = np.argsort(-values, axis=1, kind="stable")
        rows.append(np.take_along_axis(order, ranked, axis=1))
    return np.concatenate(rows)
