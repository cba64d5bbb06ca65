"""Inner products of many vectors with many, and a bound of how wrong they are.

A matrix product sums in an order of its own, so it says what is worth an exact look, and must not
lose anything.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.types import Floats, Ints

Halves = npt.NDArray[np.float16]

_ROUNDING = 8e-6
_BLOCK = 8192


class Products:
    """Inner products of some of `vectors`, (n, d) float32 or float16, with others.

    squares: (n,) float32, the vectors' squared lengths.
    """

    def __init__(self, vectors: Floats | Halves) -> None:
        self._vectors = vectors
        self.squares = np.concatenate([_squares(block) for block in _blocks(vectors)])

    def of(self, rows: Ints, others: Floats) -> tuple[Floats, Floats]:
        """Products (rows, others) float32, and (rows,) by how much they may be wrong."""
        largest = float(_squares(others).max(initial=0))
        errors = _ROUNDING * (self.squares[rows] + largest)
        return widened(self._vectors[rows]) @ others.T, errors.astype(np.float32)


def widened(vectors: Floats | Halves) -> Floats:
    """Vectors as float32; NumPy would take several times as long."""
    if vectors.dtype == np.float32 or not vectors.size:
        return np.asarray(vectors, np.float32)
    wide = cv2.add(vectors, 0, dtype=cv2.CV_32F)  # type: ignore[call-overload]
    return np.asarray(wide, np.float32)


def _blocks(vectors: Floats | Halves) -> Iterator[Floats]:
    """Vectors as float32, some at a time; at least one block."""
    for start in range(0, max(len(vectors), 1), _BLOCK):
        yield widened(vectors[start : start + _BLOCK])


def _squares(vectors: Floats) -> Floats:
    squares: Floats = np.einsum("ij,ij->i", vectors, vectors)
    return squares
