"""Neighbours of descriptors → pairs with their cosines, those that only local features propose too.

A search returns no more than its best; what the other channel proposes beyond them gets its exact
cosine here, so that both channels have their say on every candidate.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from copydetect import tables
from copydetect.candidates.fusion import DescriptorPairs
from copydetect.index.channels import IMAGE_SHIFT, DescriptorReader, PartFiles, read_vectors
from copydetect.search.neighbors import read_neighbors
from copydetect.storage import Storage

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Views = npt.NDArray[np.int32]

_VIEW_MASK = (1 << IMAGE_SHIFT) - 1
_BLOCK_PAIRS = 65_536


@dataclass(frozen=True)
class DescribedSide:
    """The descriptors of one side, by id: image_no << 32 | number of the view.

    ids: (n,) int64, ascending; biases: (n,) float32, what the background takes off their scores;
    vectors: (n, d) float16, on disk.
    """

    ids: Ints
    biases: Floats
    vectors: npt.NDArray[np.float16]

    def rows(self, ids: Ints) -> Ints:
        """Where these ids are; they must be there."""
        return np.searchsorted(self.ids, ids).astype(np.int64)

    def has(self, ids: Ints) -> npt.NDArray[np.bool_]:
        """Which of these ids are there."""
        at = np.minimum(np.searchsorted(self.ids, ids), max(len(self.ids) - 1, 0))
        return np.asarray(self.ids[at] == ids) if len(self.ids) else np.zeros(len(ids), bool)


def described_side(storage: Storage, files: PartFiles) -> DescribedSide:
    """Gather the descriptors of all parts; their vectors go to a temporary file."""
    read = DescriptorReader(storage, files, "reference")
    found = [read.ids_and_biases(uri) for uri in files.channel]
    ids = np.concatenate([ids for ids, _ in found])
    biases = np.concatenate([biases for _, biases in found])
    schema = tables.read_table(storage, files.channel[0], ["vector"]).schema
    dimension = schema.field("vector").type.list_size
    order = np.argsort(ids)
    places = np.empty(len(ids), np.int64)
    places[order] = np.arange(len(ids))
    vectors: npt.NDArray[np.float16] = np.empty((0, dimension), np.float16)
    if len(ids):
        with tempfile.TemporaryFile(prefix="copydetect-") as file:
            vectors = np.memmap(file, np.float16, "w+", shape=(len(ids), dimension))
        start = 0
        for uri in files.channel:
            some, _ = read_vectors(tables.read_table(storage, uri, ["vector", "bias"]))
            vectors[places[start : start + len(some)]] = some
            start += len(some)
    return DescribedSide(ids[order], biases[order], vectors)


def neighbor_pairs(
    storage: Storage,
    neighbors: Sequence[str],
    queries: DescribedSide,
    references: DescribedSide,
    symmetric: bool,
) -> tuple[DescriptorPairs, Views]:
    """Each query's best pair of views with each reference it found, and these views: (n, 2)."""
    found = [read_neighbors(storage, uri) for uri in neighbors]
    query = np.concatenate([one.queries for one in found])
    reference = np.concatenate([one.ids for one in found])
    scores = np.concatenate([one.scores for one in found])
    # A search returns similarities less biases; with these, similarities come back.
    similarities = scores + _biases(query, reference, queries, references, symmetric)
    order = np.lexsort((reference, query, -scores, reference >> IMAGE_SHIFT, query >> IMAGE_SHIFT))
    images = np.stack([query >> IMAGE_SHIFT, reference >> IMAGE_SHIFT], axis=1)[order]
    first = np.ones(len(order), bool)
    first[1:] = (images[1:] != images[:-1]).any(axis=1)
    best = order[first]
    return _pairs(query[best], reference[best], similarities[best], scores[best])


def proposed_pairs(
    pairs: tuple[Ints, Ints],
    known: DescriptorPairs,
    queries: DescribedSide,
    references: DescribedSide,
    symmetric: bool,
) -> tuple[DescriptorPairs, Views]:
    """What the search has not returned of `pairs` (query and reference image_no): whole images."""
    ids = [np.asarray(images, np.int64) << IMAGE_SHIFT for images in pairs]
    width = int(
        max((images.max() for images in (*pairs, known.reference) if len(images)), default=0)
    )
    keys = [
        query * (width + 1) + reference
        for query, reference in (pairs, (known.query, known.reference))
    ]
    new = ~np.isin(keys[0], keys[1]) & queries.has(ids[0]) & references.has(ids[1])
    query, reference = ids[0][new], ids[1][new]
    similarities = np.concatenate(
        [np.empty(0, np.float32), *_cosines(query, reference, queries, references)]
    )
    biases = _biases(query, reference, queries, references, symmetric)
    return _pairs(query, reference, similarities, similarities - biases)


def joined(
    one: tuple[DescriptorPairs, Views], other: tuple[DescriptorPairs, Views]
) -> tuple[DescriptorPairs, Views]:
    """The rows of both."""
    columns = {
        name: np.concatenate([getattr(one[0], name), getattr(other[0], name)])
        for name in vars(one[0])
    }
    return DescriptorPairs(**columns), np.concatenate([one[1], other[1]])


def _pairs(
    query: Ints, reference: Ints, similarities: Floats, scores: Floats
) -> tuple[DescriptorPairs, Views]:
    views = np.stack([query & _VIEW_MASK, reference & _VIEW_MASK], axis=1).astype(np.int32)
    pairs = DescriptorPairs(query >> IMAGE_SHIFT, reference >> IMAGE_SHIFT, similarities, scores)
    return pairs, views


def _biases(
    query: Ints,
    reference: Ints,
    queries: DescribedSide,
    references: DescribedSide,
    symmetric: bool,
) -> Floats:
    """(n,) float32: what score normalisation takes off each pair."""
    taken = queries.biases[queries.rows(query)]
    if symmetric:
        taken = (taken + references.biases[references.rows(reference)]) / np.float32(2)
    return np.asarray(taken, np.float32)


def _cosines(
    query: Ints, reference: Ints, queries: DescribedSide, references: DescribedSide
) -> Iterator[Floats]:
    for start in range(0, len(query), _BLOCK_PAIRS):
        block = slice(start, start + _BLOCK_PAIRS)
        one = queries.vectors[queries.rows(query[block])].astype(np.float32)
        other = references.vectors[references.rows(reference[block])].astype(np.float32)
        yield np.einsum("nd,nd->n", one, other)
