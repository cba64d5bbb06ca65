"""Inner products of many vectors with many, fast, and a bound of how wrong they are.

Where the processor multiplies bfloat16, a product takes a quarter of the time of float32. It says
what is worth an exact look, and must not lose anything: so each comes with a bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.index.partitions import Floats, Integers
from copydetect.workers.devices import multiplies_bfloat16

if TYPE_CHECKING:
    import torch

Halves = npt.NDArray[np.float16]

_HALF_STEP = 2.0**-8
_FLOAT_ROUNDING = 8e-6
_ROWS, _COLUMNS, _MOST_ROWS = 128, 64, 2048
_BLOCK = 8192


class Products:
    """Inner products of some of `vectors`, (n, d) float32 or float16, with others.

    squares: (n,) float32, the vectors' squared lengths.
    """

    def __init__(self, vectors: Floats | Halves) -> None:
        self._vectors = vectors
        self.squares = np.concatenate([_squares(block) for block in _blocks(vectors)])
        self._sizes = np.sqrt(self.squares)
        self._halves = _halves(vectors) if multiplies_bfloat16() else None
        if self._halves is not None:
            self._lost = _lost(vectors, self._halves)

    def of(self, rows: Integers, others: Floats) -> tuple[Floats, Floats]:
        """Products (rows, others) float32, and (rows,) by how much they may be wrong.

        Rounding moves q to q + e and v to v + f: the product by at most |e| |v| + |q + e| |f|,
        by Cauchy and Schwarz, and the result is rounded once more.
        """
        size = float(_norms(others).max(initial=0))
        if self._halves is None:
            errors = _FLOAT_ROUNDING * (self._sizes[rows] ** 2 + size**2)
            return widened(self._vectors[rows]) @ others.T, errors.astype(np.float32)
        import torch

        halves = _halves(others)
        lost = float(_lost(others, halves).max(initial=0))
        products = np.empty((len(rows), len(others)), np.float32)
        right = _padded(halves, _COLUMNS).T
        for start in range(0, len(rows), _MOST_ROWS):
            some = rows[start : start + _MOST_ROWS]
            left = torch.zeros(
                (-(-len(some) // _ROWS) * _ROWS, others.shape[1]), dtype=torch.bfloat16
            )
            torch.index_select(self._halves, 0, torch.from_numpy(some), out=left[: len(some)])
            found = torch.mm(left, right)[: len(some), : len(others)]
            torch.from_numpy(products[start : start + len(some)]).copy_(found)
        sizes = self._sizes[rows]
        errors = self._lost[rows] * size + (sizes + self._lost[rows]) * lost
        errors += (_HALF_STEP + _FLOAT_ROUNDING) * (sizes * size + errors)
        return products, errors.astype(np.float32)


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


def _halves(vectors: Floats | Halves) -> torch.Tensor:
    import torch

    halves = torch.empty(vectors.shape, dtype=torch.bfloat16)
    for block, some in zip(_blocks(vectors), torch.split(halves, _BLOCK), strict=True):
        some.copy_(torch.from_numpy(block))
    return halves


def _padded(halves: torch.Tensor, multiple: int) -> torch.Tensor:
    """With rows of zeros: of few different shapes, each is prepared once."""
    import torch

    rows, width = halves.shape
    padded = torch.zeros((-(-rows // multiple) * multiple, width), dtype=halves.dtype)
    padded[:rows] = halves
    return padded


def _lost(vectors: Floats | Halves, halves: torch.Tensor) -> Floats:
    """(n,) the lengths of what rounding took from the vectors."""
    import torch

    rounded = torch.split(halves, _BLOCK)
    pairs = zip(_blocks(vectors), rounded, strict=True)
    return np.concatenate([_norms(block - some.float().numpy()) for block, some in pairs])


def _squares(vectors: Floats) -> Floats:
    squares: Floats = np.einsum("ij,ij->i", vectors, vectors)
    return squares


def _norms(vectors: Floats) -> Floats:
    norms: Floats = np.sqrt(_squares(vectors))
    return norms
