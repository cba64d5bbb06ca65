"""A `matches` table → verified pairs of image numbers, and the components that they connect."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from copydetect.errors import InputError
from copydetect.grouping.agglomeration import Verdict, Verdicts
from copydetect.grouping.composites import apart_in_composites, copies_and_boxes

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_SINGULAR = 1e-12
_OF_STRANGERS = 0.3
"""A similarity that pictures often have."""
_ALL_LOOKED_AT = 24
"""Images of a component: of larger families only some pairs are verified."""


@dataclass(frozen=True)
class VerifiedPairs:
    """Verified pairs of image numbers, each once, first < second, sorted; row i belongs together.

    confidence, similarity: (n,) float64; is_copy: (n,) bool; first_is_original: (n,) int64, 1 or −1
    where the direction is known, else 0; relation: n texts; edits: n lists of texts; transforms:
    (n, 3, 3) float64, px of the first image → px of the second, NaN where there is none.
    """

    first: Integers
    second: Integers
    confidence: Floats
    similarity: Floats
    is_copy: npt.NDArray[np.bool_]
    first_is_original: Integers
    relation: list[str]
    edits: list[list[str]]
    transforms: Floats

    @classmethod
    def of(cls, images: pa.Table, originals: Integers, matches: pa.Table) -> VerifiedPairs:
        """Pairs of the matches table; of a pair that was verified twice the surer acceptance."""
        a = originals[numbers_of(images, matches["query_id"])]
        b = originals[numbers_of(images, matches["reference_id"])]
        first, second = np.minimum(a, b), np.maximum(a, b)
        confidence = matches["confidence"].to_numpy().astype(np.float64)
        similarity = pc.fill_null(matches["similarity"], math.nan).to_numpy().astype(np.float64)
        is_copy = matches["is_copy"].to_numpy().astype(bool)
        is_copy &= ~apart_in_composites(*copies_and_boxes(matches, a, b))
        order = np.lexsort((-similarity, -confidence, ~is_copy, second, first))
        order = order[first[order] != second[order]]
        new = np.ones(len(order), bool)
        new[1:] = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
        kept = order[new]
        # 1, −1 or, where the direction is unknown, 0.
        known = pc.equal(matches["direction"], "reference_is_copy").to_numpy().astype(np.int64)
        known -= pc.equal(matches["direction"], "query_is_copy").to_numpy()
        known = np.where(a == first, known, -known)
        chosen = matches.select(["relation", "edits", "transform"]).take(kept)
        return cls(
            first[kept],
            second[kept],
            confidence[kept],
            similarity[kept],
            is_copy[kept],
            known[kept],
            chosen["relation"].to_pylist(),
            chosen["edits"].to_pylist(),
            _transforms(chosen["transform"], a[kept] == first[kept]),
        )

    def among(self, images: npt.NDArray[np.bool_]) -> VerifiedPairs:
        """The pairs of which both are among these, given for every image number."""
        chosen = np.flatnonzero(images[self.first] & images[self.second])
        if len(chosen) == len(self.first):
            return self
        return VerifiedPairs(
            self.first[chosen],
            self.second[chosen],
            self.confidence[chosen],
            self.similarity[chosen],
            self.is_copy[chosen],
            self.first_is_original[chosen],
            [self.relation[row] for row in chosen],
            [self.edits[row] for row in chosen],
            self.transforms[chosen],
        )

    def directions(self, image_count: int) -> Floats:
        """(images, 2) how many accepted pairs call each image the original, and the copy."""
        found = np.zeros((image_count, 2))
        for side, ends in ((0, (self.first, self.second)), (1, (self.second, self.first))):
            for sign, end in zip((1, -1), ends, strict=True):
                said = self.is_copy & (self.first_is_original == sign)
                np.add.at(found[:, side], end[said], 1)
        return found

    def closeness(self, image_count: int) -> Floats:
        """(images,) how like each is to all others of its component: the mean surplus of their
        similarity over that of strangers, 0 where no pair was accepted.

        0, too, in components of two, which are equally like each other, and of so many that not
        all of their pairs were looked at.
        """
        surplus = np.where(self.is_copy, np.nan_to_num(self.similarity) - _OF_STRANGERS, 0.0)
        _, sums = self._sums(np.maximum(surplus, 0.0), image_count)
        sizes, small = self._sizes(image_count)
        return np.where(small, sums / np.maximum(sizes - 1, 1), 0.0)

    def edits_away(self, image_count: int) -> Floats:
        """(images,) how many edits lie between each and the others that it matches, on average.

        0 where `closeness` is: between two images alone lie the same edits.
        """
        edits = np.array([len(one) for one in self.edits], np.float64)
        matched, sums = self._sums(np.where(self.is_copy, edits, 0.0), image_count)
        _, small = self._sizes(image_count)
        return np.where(small, sums / np.maximum(matched, 1), 0.0)

    def _sums(self, values: Floats, image_count: int) -> tuple[Floats, Floats]:
        """(images,) the number of accepted pairs of each image, and the sum of their values."""
        matched, sums = np.zeros(image_count), np.zeros(image_count)
        for end in (self.first, self.second):
            np.add.at(matched, end, self.is_copy)
            np.add.at(sums, end, values)
        return matched, sums

    def _sizes(self, image_count: int) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """(images,) of the component of each image, and whether all pairs of it were looked at."""
        component = self.components_of(image_count)
        sizes = np.bincount(component)[component]
        return sizes, (sizes > 2) & (sizes <= _ALL_LOOKED_AT)

    def components_of(self, image_count: int) -> npt.NDArray[np.int32]:
        """(images,) number of the component of the accepted pairs that each is in."""
        ends = (self.first[self.is_copy], self.second[self.is_copy])
        graph = coo_array((np.ones(len(ends[0]), bool), ends), shape=(image_count, image_count))
        return np.asarray(connected_components(graph, directed=False)[1], np.int32)

    def components(self, image_count: int) -> Iterator[Verdicts]:
        """The verdicts inside each connected component of the accepted pairs, one at a time."""
        component = self.components_of(image_count)
        inside = np.flatnonzero(component[self.first] == component[self.second])
        inside = inside[np.argsort(component[self.first[inside]], kind="stable")]
        borders = np.flatnonzero(np.diff(component[self.first[inside]])) + 1
        for rows in np.split(inside, borders) if len(inside) else []:
            verdicts: Verdicts = {}
            for row in rows.tolist():
                a, b = int(self.first[row]), int(self.second[row])
                verdict = Verdict(
                    float(self.confidence[row]),
                    float(self.similarity[row]),
                    bool(self.is_copy[row]),
                    row,
                )
                verdicts.setdefault(a, {})[b] = verdict
                verdicts.setdefault(b, {})[a] = verdict
            yield verdicts

    def is_original(self, row: int, image: int) -> bool:
        """Whether the other image of a pair was made from this one."""
        return bool(self.first_is_original[row] == (1 if image == self.first[row] else -1))

    def transform(self, row: int, source: int) -> Floats:
        """(3, 3) px of image `source` of a pair → px of the other one; NaN where unknown."""
        matrix: Floats = self.transforms[row]
        return matrix if source == self.first[row] else inverse_or_unknown(matrix)


def numbers_of(images: pa.Table, ids: pa.ChunkedArray) -> Integers:
    """Rows of the images table that hold these ids; InputError for an id that none has."""
    numbers = pc.index_in(ids, value_set=images["image_id"].combine_chunks())
    if numbers.null_count:
        stranger = ids.filter(pc.is_null(numbers))[0].as_py()
        raise InputError(f"{stranger!r} is named by a match or a duplicate but is no image_id")
    return np.asarray(numbers.to_numpy(), np.int64)


def inverse_or_unknown(matrix: Floats) -> Floats:
    """(3, 3) the inverse, NaN where there is none."""
    return np.asarray(_inverses(matrix[None])[0], np.float64)


def _transforms(column: pa.ChunkedArray, as_they_are: npt.NDArray[np.bool_]) -> Floats:
    """(n, 3, 3) of a column of 9 numbers or none, the others inverted."""
    found = np.full((len(column), 3, 3), math.nan)
    rows = np.flatnonzero(pc.equal(pc.list_value_length(column), 9).to_numpy())
    if len(rows):
        values = pc.list_flatten(column.take(rows)).to_numpy()
        found[rows] = np.asarray(values, np.float64).reshape(-1, 3, 3)
    turned = rows[~as_they_are[rows]]
    found[turned] = _inverses(found[turned])
    return found


def _inverses(matrices: Floats) -> Floats:
    """(n, 3, 3) inverse matrices, NaN where there is none."""
    found = np.full(matrices.shape, math.nan)
    known = np.isfinite(matrices).all(axis=(1, 2))
    regular = known.copy()
    regular[known] = np.abs(np.linalg.det(matrices[known])) > _SINGULAR
    found[regular] = np.linalg.inv(matrices[regular])
    return found
