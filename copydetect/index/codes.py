"""How a vector is stored in its list. Names are those of FAISS's index factory, without its IVF.

Product quantisation: Jégou et al., "Product Quantization for Nearest Neighbor Search" (2011).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import faiss
import numpy as np

from copydetect.errors import OptionError
from copydetect.types import Floats

_NAME = re.compile(r"SQfp16|SQ8|Flat|PQ[1-9]\d*")
_SCALAR = {"SQfp16": faiss.ScalarQuantizer.QT_fp16, "SQ8": faiss.ScalarQuantizer.QT_8bit}
_PQ_VECTORS = 1 << 16


@dataclass(frozen=True)
class Coding:
    """A checked name of codes; OptionError where it is none."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise OptionError(
                f"unknown codes {self.name!r}: choose Flat, SQfp16, SQ8 or PQ<bytes>, such as PQ64"
            )

    @property
    def product(self) -> bool:
        """Whether vectors are coded by a product quantiser."""
        return self.name.startswith("PQ")

    @property
    def is_float32(self) -> bool:
        """Whether vectors are kept as they are."""
        return self.name == "Flat"

    def bytes(self, dimension: int) -> int:
        """Bytes of the code of one vector."""
        if self.product:
            return self.product_parts(dimension)
        return {"Flat": 4, "SQfp16": 2, "SQ8": 1}[self.name] * dimension

    def product_parts(self, dimension: int) -> int:
        """Parts of the vector, a byte each in a product code; OptionError where they do not fit."""
        parts = int(self.name[2:])
        if dimension % parts:
            raise OptionError(
                f"{self.name} cuts a vector into {parts} parts, which must divide its dimension, "
                f"{dimension}"
            )
        return parts


def trained_index(
    coding: Coding,
    metric: Literal["inner_product", "l2"],
    lists: int,
    sample: Floats,
    codebook: Floats | None = None,
) -> Any:
    """An empty `faiss.IndexIVF` whose codec is trained on a sample, or given.

    Codes are of the vector itself, not of its residual, so that a shard is searched without
    knowing the centroids.
    """
    index = _untrained_index(coding, metric, lists, sample.shape[1], codebook)
    index.by_residual = False
    if coding.product and codebook is None:
        index.pq.cp.min_points_per_centroid = 1
        index.pq.train(_at_least_256(sample[:_PQ_VECTORS]))
    elif coding.name in _SCALAR:
        index.sq.train(sample)
    index.is_trained = True
    return index


def _untrained_index(
    coding: Coding, metric_name: str, lists: int, dimension: int, codebook: Floats | None
) -> Any:
    metric = faiss.METRIC_L2 if metric_name == "l2" else faiss.METRIC_INNER_PRODUCT
    quantizer = faiss.IndexFlatL2(dimension)
    if coding.product:
        parts = coding.product_parts(dimension)
        index = faiss.IndexIVFPQ(quantizer, dimension, lists, parts, 8, metric)
        if codebook is not None:
            faiss.copy_array_to_vector(np.ravel(codebook).astype(np.float32), index.pq.centroids)
        return index
    if coding.is_float32:
        return faiss.IndexIVFFlat(quantizer, dimension, lists, metric)
    kind = _SCALAR[coding.name]
    return faiss.IndexIVFScalarQuantizer(quantizer, dimension, lists, kind, metric, False)


def _at_least_256(sample: Floats) -> Floats:
    """A sample, repeated where it has fewer vectors than a byte has values."""
    return np.resize(sample, (max(len(sample), 256), sample.shape[1]))
