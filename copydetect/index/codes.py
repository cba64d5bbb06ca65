"""How a vector is stored: by a code in its list and, where asked for, by a finer one beside it.

Names are those of FAISS's index factory, without its IVF: `SQfp16`, `PQ64`, `PQ64,RFlat`,
`OPQ64_128,PQ64,Refine(SQfp16)`. Short codes propose neighbours, the finer ones rank them again.

Product quantisation: Jégou et al., "Product Quantization for Nearest Neighbor Search" (2011);
a rotation that suits it: Ge et al., "Optimized Product Quantization" (2013).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt

from copydetect.errors import OptionError

Floats = npt.NDArray[np.float32]

_NAME = re.compile(
    r"(?:OPQ(?P<parts>\d+)(?:_(?P<width>\d+))?,)?"
    r"(?P<base>SQfp16|SQ8|SQ4|Flat|PQ[1-9]\d*)"
    r"(?:,(?P<refine>RFlat|Refine\(SQfp16\)))?"
)
_SCALAR = {
    "SQfp16": faiss.ScalarQuantizer.QT_fp16,
    "SQ8": faiss.ScalarQuantizer.QT_8bit,
    "SQ4": faiss.ScalarQuantizer.QT_4bit,
}
_OPQ_ROUNDS = 8
_OPQ_VECTORS = 1 << 14
_PQ_VECTORS = 1 << 16


@dataclass(frozen=True)
class Coding:
    """A parsed name of codes.

    base: the code in a list; refine: number type of the finer one, None where there is none;
    rotated_parts, rotated_width: of a rotation before `base` that is trained for so many parts,
    and the dimension that it leads to (0: about the vectors' own); 0 and 0 without one.
    """

    base: str
    refine: type[np.float16] | type[np.float32] | None = None
    rotated_parts: int = 0
    rotated_width: int = 0

    @staticmethod
    def parse(name: str) -> Coding:
        """OptionError where it is no name of codes."""
        found = _NAME.fullmatch(name)
        if not found or (found["parts"] and not found["base"].startswith("PQ")):
            raise OptionError(
                f"unknown codes {name!r}: choose Flat, SQfp16, SQ8, SQ4 or PQ<bytes>, with "
                "OPQ<parts>[_<dimension>], before PQ and ,RFlat or ,Refine(SQfp16) behind"
            )
        finer = {None: None, "RFlat": np.float32, "Refine(SQfp16)": np.float16}[found["refine"]]
        return Coding(found["base"], finer, int(found["parts"] or 0), int(found["width"] or 0))

    @property
    def product(self) -> bool:
        """Whether vectors are coded by a product quantiser."""
        return self.base.startswith("PQ")

    @property
    def is_float32(self) -> bool:
        """Whether vectors are kept as they are."""
        return self.base == "Flat" or self.refine is np.float32

    def bytes(self, dimension: int) -> tuple[int, int]:
        """Bytes of the code in the list, and of the finer one."""
        sizes = {"Flat": 4 * dimension, "SQfp16": 2 * dimension, "SQ8": dimension}
        sizes["SQ4"] = (dimension + 1) // 2
        base = int(self.base[2:]) if self.product else sizes[self.base]
        return base, np.dtype(self.refine).itemsize * dimension if self.refine else 0


def train_rotation(coding: Coding, sample: Floats) -> Floats:
    """(width, d) float32: what vectors are multiplied by before a product quantiser codes them.

    The rotation that is asked for; else zeros are added where the quantiser's parts do not divide
    the dimension; (0, 0) where there is nothing to do.
    """
    dimension = sample.shape[1]
    parts = coding.bytes(dimension)[0] if coding.product else 1
    if not coding.rotated_parts:
        width = math.ceil(dimension / parts) * parts
        return np.eye(width, dimension, dtype=np.float32)[: width if width > dimension else 0]
    width = coding.rotated_width or dimension // parts * parts
    if width > dimension or not width or width % coding.rotated_parts or width % parts:
        raise OptionError(
            f"OPQ{coding.rotated_parts}_{width}: {coding.rotated_parts} and {parts} must divide "
            f"{width}, which must be from 1 to the dimension, {dimension}"
        )
    opq = faiss.OPQMatrix(dimension, coding.rotated_parts, width)
    opq.niter, opq.max_train_points = _OPQ_ROUNDS, _OPQ_VECTORS
    opq.train(_at_least_256(sample[:_OPQ_VECTORS]))
    rotation: Floats = faiss.vector_to_array(opq.A).reshape(width, dimension).astype(np.float32)
    return rotation


def trained_index(
    coding: Coding,
    metric: Literal["inner_product", "l2"],
    lists: int,
    sample: Floats,
    codebook: Floats | None = None,
) -> Any:
    """An empty `faiss.IndexIVF` whose codec is trained on a (rotated) sample, or given.

    Codes are of the vector itself, not of its residual, so that a shard is searched without
    knowing the centroids.
    """
    index = _untrained_index(coding, metric, lists, sample.shape[1], codebook)
    index.by_residual = False
    if coding.product and codebook is None:
        index.pq.cp.min_points_per_centroid = 1
        index.pq.train(_at_least_256(sample[:_PQ_VECTORS]))
    elif coding.base in _SCALAR:
        index.sq.train(sample)
    index.is_trained = True
    return index


def _untrained_index(
    coding: Coding, metric_name: str, lists: int, dimension: int, codebook: Floats | None
) -> Any:
    metric = faiss.METRIC_L2 if metric_name == "l2" else faiss.METRIC_INNER_PRODUCT
    quantizer = faiss.IndexFlatL2(dimension)
    if coding.product:
        parts, _ = coding.bytes(dimension)
        index = faiss.IndexIVFPQ(quantizer, dimension, lists, parts, 8, metric)
        if codebook is not None:
            faiss.copy_array_to_vector(np.ravel(codebook).astype(np.float32), index.pq.centroids)
        return index
    if coding.base == "Flat":
        return faiss.IndexIVFFlat(quantizer, dimension, lists, metric)
    kind = _SCALAR[coding.base]
    return faiss.IndexIVFScalarQuantizer(quantizer, dimension, lists, kind, metric, False)


def _at_least_256(sample: Floats) -> Floats:
    """A sample, repeated where it has fewer vectors than a byte has values."""
    return np.resize(sample, (max(len(sample), 256), sample.shape[1]))
