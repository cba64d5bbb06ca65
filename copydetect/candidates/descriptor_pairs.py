"""Neighbours of descriptors, and pairs that only local features propose → pairs with their cosines.

A search returns no more than its best; what the other channel proposes beyond them gets its exact
cosine here, so that both channels have their say on every candidate.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from copydetect.candidates.fusion import DescriptorPairs
from copydetect.candidates.mapped_tables import DescribedSide
from copydetect.description.views import WHOLES
from copydetect.index.channels import IMAGE_SHIFT
from copydetect.search.neighbors import Neighbors
from copydetect.sorted_rows import begins_run
from copydetect.types import Bools, Floats, Ints

Views = npt.NDArray[np.int32]

_VIEW_MASK = (1 << IMAGE_SHIFT) - 1
_BLOCK_PAIRS = 65_536
_LIKELY_COPY = 0.7
_FEWEST_IN_FULL_LIST = 30
_ALIKE = 0.3
"""Cosine of icons of one set, in any size; nine in ten of their pairs have it."""


def neighbor_pairs(
    neighbors: Neighbors, queries: DescribedSide, references: DescribedSide
) -> tuple[DescriptorPairs, Views]:
    """Each query's best pair of views with each reference it found, and these views: (n, 2).

    One of the two is a view of the whole image: parts of strangers are too often alike.
    """
    queried, found = neighbors.queries & _VIEW_MASK, neighbors.ids & _VIEW_MASK
    whole = (queried < len(WHOLES)) | (found < len(WHOLES))
    query, reference = neighbors.queries[whole], neighbors.ids[whole]
    similarities = neighbors.scores[whole]
    scores = similarities * _weights(query, reference, queries, references)
    order = np.lexsort((reference, query, -scores, reference >> IMAGE_SHIFT, query >> IMAGE_SHIFT))
    images = (ids[order] >> IMAGE_SHIFT for ids in (query, reference))
    best = order[begins_run(*images)]
    return _pairs(query[best], reference[best], similarities[best], scores[best])


def of_full_lists(pairs: DescriptorPairs, searched: int) -> Bools:
    """(searched,) bool: which of the first rows are on lists that hold nothing but likely copies.

    Such a list has no strangers that would tell how crowded it is. Of pictures that are no copies
    hardly any has so many neighbours of this cosine, none in two ordinary collections.
    """
    query, similarity = pairs.query[:searched], pairs.similarity[:searched]
    _, number, sizes = np.unique(query, return_inverse=True, return_counts=True)
    strangers = np.bincount(number, similarity < _LIKELY_COPY, minlength=len(sizes))
    full = (strangers == 0) & (sizes >= _FEWEST_IN_FULL_LIST)
    return np.asarray(full[number], np.bool_)


def of_little_content(
    found: tuple[DescriptorPairs, Views], queries: DescribedSide, references: DescribedSide
) -> Bools:
    """(n,) bool: which pairs are alike, and of two pictures with few local features.

    Icons of one set crowd around each other, so that no pair of them scores well; and features that
    would tell their pairs from others are too few.
    """
    pairs, views = found
    sides = ((queries, pairs.query), (references, pairs.reference))
    ids = [images << IMAGE_SHIFT | views[:, number] for number, (_, images) in enumerate(sides)]
    little = [side.little[side.rows(one)] for (side, _), one in zip(sides, ids, strict=True)]
    return np.asarray(little[0] & little[1] & (pairs.similarity >= _ALIKE), np.bool_)


def proposed_pairs(
    pairs: tuple[Ints, Ints],
    known: DescriptorPairs,
    queries: DescribedSide,
    references: DescribedSide,
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
    weights = _weights(query, reference, queries, references)
    return _pairs(query, reference, similarities, similarities * weights)


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


def _weights(
    query: Ints, reference: Ints, queries: DescribedSide, references: DescribedSide
) -> Floats:
    """(n,) float32: the weight of each pair's cosine."""
    ours, theirs = queries.rows(query), references.rows(reference)
    return np.asarray(queries.weights[ours] * references.weights[theirs], np.float32)


def _cosines(
    query: Ints, reference: Ints, queries: DescribedSide, references: DescribedSide
) -> Iterator[Floats]:
    for start in range(0, len(query), _BLOCK_PAIRS):
        block = slice(start, start + _BLOCK_PAIRS)
        one = queries.vectors(queries.rows(query[block]))
        other = references.vectors(references.rows(reference[block]))
        yield np.einsum("nd,nd->n", one, other)
