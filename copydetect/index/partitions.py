"""The partition: which list of an inverted file a vector belongs to, and how it is coded there.

A coarse k-means over a sample gives the lists; they are numbered so that neighbouring lists have
neighbouring numbers, and a shard is a range of numbers. The partition is trained once and serves
both channels: descriptors (inner product) and local features (L2, codes of a bundled codebook).

Inverted file: Sivic and Zisserman, "Video Google" (2003).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt

from copydetect.errors import IndexFileError, OptionError
from copydetect.index.clustering import cluster, in_order, split_crowded
from copydetect.index.coarse import CoarseQuantiser
from copydetect.index.codes import Coding, trained_index
from copydetect.index.spills import read_arrays, write_arrays
from copydetect.storage.files import Storage
from copydetect.types import Floats, Ints

Codes = npt.NDArray[np.uint8]
Vectors = Floats | npt.NDArray[np.float16] | npt.NDArray[np.uint8]
"""(n, d) floats, or (n, m) uint8: codes of the partition's own codebook."""

EXACT_BELOW = 8192
"""Collections up to this many vectors are one list: searching them is exact."""

_VECTORS_PER_LIST = 256
_MOST_LINEAR_LISTS = 65_536
_LEAST_PROBES = 48
_TUNED_PROBES = 2048
_LARGEST_SAMPLE = 1 << 22
_PQ_PROBES = 4
_TUNING_QUERIES = 256
_TUNING_NEIGHBORS = 10
_BLOCK = 1024


@dataclass(frozen=True)
class IndexOptions:
    """How an index is made; zeros mean "by the rule from the number of vectors".

    codes: as in FAISS's index factory: Flat (float32), SQfp16, SQ8 or PQ<bytes>;
    metric: similarity of two vectors, higher is better ("l2": the negative squared distance);
    lists, shards: how many; probes: lists that a query visits; recall: where `probes` is 0, the
    share of the ten nearest vectors that the visited lists must hold, measured on the sample (for
    PQ, 4 lists are visited: features vote, and need not all be found);
    training_per_list: sampled vectors per list; shard_bytes: aimed-at size of a shard; threads: of
    FAISS, in one worker.
    """

    codes: str = "SQfp16"
    metric: Literal["inner_product", "l2"] = "inner_product"
    lists: int = 0
    shards: int = 0
    probes: int = 0
    recall: float = 0.985
    training_per_list: int = 48
    shard_bytes: int = 128 << 20
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        Coding(self.codes)
        if self.metric not in ("inner_product", "l2"):
            raise OptionError(f"unknown metric {self.metric!r}: choose inner_product or l2")
        for name in ("lists", "shards", "probes"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} must be 0 (automatic) or more: {getattr(self, name)}")
        if not 0 < self.recall <= 1:
            raise OptionError(f"recall must be above 0 and at most 1: {self.recall}")
        for name in ("training_per_list", "shard_bytes", "threads"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1: {getattr(self, name)}")

    @property
    def coding(self) -> Coding:
        """What `codes` says."""
        return Coding(self.codes)

    @property
    def of_features(self) -> bool:
        """Whether vectors are local features, which vote and need not all be found."""
        return self.coding.product and self.metric == "l2"

    def __str__(self) -> str:
        lists, probes = self.lists or "auto", self.probes or "auto"
        return f"{self.codes},{self.metric},lists={lists},probes={probes}"


def lists_for(vectors: int, options: IndexOptions) -> int:
    """How many lists to make for a number of vectors.

    One up to `EXACT_BELOW`. A list that comes out four times longer than the others is split, which
    adds lists. Then 256 vectors per list, so that a query's work stays the same while
    the collection grows; from 65,536 lists on, where finding the lists would cost more than
    searching them, 16·√n. Local features (PQ) visit few lists, so that it is 2.5·√n
    for them: finding the lists then costs as much as searching them.
    """
    if options.lists:
        return max(1, min(options.lists, vectors))
    if vectors <= EXACT_BELOW:
        return 1
    if options.of_features:
        return round(2.5 * math.sqrt(vectors))
    linear = vectors // _VECTORS_PER_LIST
    return max(min(linear, _MOST_LINEAR_LISTS), min(linear, round(16 * math.sqrt(vectors))))


def training_size(vectors: int, options: IndexOptions) -> int:
    """How many vectors to sample for training; all of a small collection."""
    wanted = lists_for(vectors, options) * options.training_per_list
    return min(vectors, max(wanted, 4 * EXACT_BELOW), _LARGEST_SAMPLE)


@dataclass(frozen=True)
class Partition:
    """A trained partition.

    centroids: (lists, d) float32, neighbours next to each other; empty_index: FAISS's serialised
    inverted file without vectors and centroids: the codec; model: identity of what made the
    vectors; probes: lists that a query visits by default; identity: digest of what decides where a
    vector goes.
    """

    centroids: Floats
    empty_index: Codes
    options: IndexOptions
    model: str
    probes: int

    @cached_property
    def identity(self) -> str:
        """16 hex digits."""
        digest = hashlib.sha256(self.centroids.tobytes())
        digest.update(self.empty_index.tobytes())
        digest.update(f"{self.options.codes},{self.options.metric},{self.model}".encode())
        return digest.hexdigest()[:16]

    @property
    def lists(self) -> int:
        """How many lists."""
        return len(self.centroids)

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return int(self.centroids.shape[1])

    @property
    def code_bytes(self) -> int:
        """Bytes of one coded vector."""
        return int(self._codec.code_size)

    def new_index(self) -> Any:
        """An empty `faiss.IndexIVF` with the codec of the partition."""
        return faiss.deserialize_index(self.empty_index)

    def decode(self, vectors: Vectors) -> Floats:
        """Float vectors of what a reader gave: floats of any width, or codes."""
        if vectors.dtype != np.uint8:
            return np.ascontiguousarray(vectors, dtype=np.float32)
        return self._decoded(np.ascontiguousarray(vectors))

    def encode(self, vectors: Vectors) -> Codes:
        """Codes (n, code_bytes); codes are passed through."""
        if vectors.dtype == np.uint8:
            return np.ascontiguousarray(vectors)
        floats = np.ascontiguousarray(vectors, dtype=np.float32)
        if self.options.coding.is_float32:
            return floats.view(np.uint8)
        codes: Codes = _by_blocks(self._quantizer.compute_codes, floats)
        return codes

    def _decoded(self, codes: Codes) -> Floats:
        if self.options.coding.is_float32:
            return codes.view(np.float32)
        return np.asarray(self._quantizer.decode(codes), dtype=np.float32)

    def nearest_lists(self, vectors: Vectors, count: int, workers: int = 1) -> Ints:
        """The `count` lists nearest to each vector by L2, nearest first: (n, count) int64.

        All where there are fewer. A vector's lists do not depend on what it comes with.
        """
        return self._coarse.nearest(self.decode(vectors), count, workers)

    @cached_property
    def _codec(self) -> Any:
        return self.new_index()

    @property
    def _quantizer(self) -> Any:
        return self._codec.pq if self.options.coding.product else self._codec.sq

    @cached_property
    def _coarse(self) -> CoarseQuantiser:
        return CoarseQuantiser(self.centroids)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def _by_blocks(function: Callable[[Floats], Any], floats: Floats) -> Any:
    """A function of rows, called with blocks of one shape.

    The rounding of products depends on their shape, and a vector's result must not depend on
    its neighbours.
    """
    pieces = []
    for start in range(0, max(len(floats), 1), _BLOCK):
        block = np.zeros((_BLOCK, floats.shape[1]), dtype=np.float32)
        rows = floats[start : start + _BLOCK]
        block[: len(rows)] = rows
        pieces.append(function(block)[: len(rows)])
    return np.concatenate(pieces)


def train_partition(
    sample: Vectors,
    vectors: int,
    options: IndexOptions,
    model: str = "",
    codebook: Floats | None = None,
    workers: int = 1,
) -> Partition:
    """Train the partition of a collection of `vectors` vectors on a sample of them.

    sample: (n, d) floats, or codes of `codebook`; codebook: (m, 256, d / m) float32, a product
    quantiser that is given rather than trained; workers: threads. An empty collection has one list,
    around 0.
    """
    floats = _floats(sample, codebook)
    if not len(floats):
        floats = np.zeros((1, max(floats.shape[1], 1)), np.float32)
    lists = min(lists_for(vectors, options), len(floats))
    centroids = cluster(floats, lists, options.seed, workers)
    centroids = in_order(split_crowded(floats, centroids, options.seed, workers))
    index = trained_index(options.coding, options.metric, len(centroids), floats, codebook)
    partition = Partition(centroids, faiss.serialize_index(index), options, model, 1)
    return replace(partition, probes=_tuned_probes(partition, floats))


def _floats(vectors: Vectors, codebook: Floats | None) -> Floats:
    """Float vectors of floats, or of codes by their codebook."""
    if vectors.dtype != np.uint8:
        return np.ascontiguousarray(vectors, dtype=np.float32)
    if codebook is None:
        raise OptionError("vectors that are codes need the codebook that made them")
    parts = [codebook[part][vectors[:, part]] for part in range(len(codebook))]
    return np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32)


def _tuned_probes(partition: Partition, sample: Floats) -> int:
    """The fewest lists in which sampled queries find `recall` of their nearest in the sample.

    The sample is sparser than the collection, its neighbours are farther: a cautious estimate. But
    an edited copy may be farther than ten neighbours: of the pairs at similarity .7 among a million
    descriptors 32 lists hold .991, 48 lists .998. So it is never under 48.
    """
    options, lists = partition.options, partition.lists
    if options.probes or options.of_features:
        return min(options.probes or _PQ_PROBES, lists)
    wanted = min(_TUNING_NEIGHBORS + 1, len(sample))
    rows = np.linspace(0, len(sample) - 1, min(_TUNING_QUERIES, len(sample))).astype(np.int64)
    metric = faiss.METRIC_L2 if options.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    found = faiss.knn(sample[rows], sample, wanted, metric=metric)[1]
    kept = (found != rows[:, None]) & (found >= 0)
    own_lists = partition.nearest_lists(sample[np.ravel(found)], 1).reshape(found.shape)
    most = min(lists, _TUNED_PROBES)
    visited = partition.nearest_lists(sample[rows], most)
    same = own_lists[:, :, None] == visited[:, None, :]
    ranks = np.where(same.any(axis=2), same.argmax(axis=2), most - 1)
    needed = np.sort(ranks[kept])
    if not len(needed):
        return most
    tuned = int(needed[min(int(options.recall * len(needed)), len(needed) - 1)]) + 1
    return min(max(tuned, _LEAST_PROBES), most)


def save_partition(storage: Storage, uri: str, partition: Partition) -> None:
    """Write a partition as one file, atomically."""
    described = [
        asdict(partition.options),
        partition.model,
        partition.probes,
        partition.identity,
    ]
    centroids, empty_index = partition.centroids, partition.empty_index
    write_arrays(storage, uri, described, centroids=centroids, empty_index=empty_index)


def load_partition(storage: Storage, uri: str) -> Partition:
    """Read a partition; IndexFileError where the file is missing, damaged or none."""
    described, arrays = read_arrays(storage, uri)
    try:
        options, model, probes, identity = described
        trained = arrays["centroids"], arrays["empty_index"]
        partition = Partition(*trained, IndexOptions(**options), model, probes)
    except (TypeError, ValueError, KeyError) as error:
        raise IndexFileError(f"{uri} is not a partition: {error}") from error
    if partition.identity != identity:
        raise IndexFileError(f"{uri} is damaged: its content is not what it was made with")
    return partition
