"""The images that a run plants copies of: those that its queries meet.

    hashes drawn at random → images of a pile
    hashes drawn at random → queries → the reference that each comes nearest to

Planted copies stand for the pictures that a run decides on. In a pile these are all images alike.
In a search they are the references that queries resemble, which may be few of them: uploads that
are mostly screenshots, searched among photos, meet the screenshots there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import tables
from copydetect.candidates.pair_numbers import read_pairs
from copydetect.evaluation.planted import sampling_points
from copydetect.inputs.listing import ListedImage
from copydetect.parts import RoleParts, Sides, part_of
from copydetect.storage.files import Storage
from copydetect.types import Ints

_PARTS_HELD = 8


def images_to_edit(
    storage: Storage, sides: Sides, candidates: Sequence[str], wanted: int
) -> dict[int, ListedImage]:
    """At most `wanted` references, by their number: the same whatever the input's order.

    candidates: by part of the queries, the numbers of its candidates (`PairNumbers`). Where
    queries meet
    fewer references than are wanted, others are drawn.
    """
    references = sides.references
    drawn: Iterator[int] = _drawn(storage, references, wanted)
    if not sides.symmetric:
        drawn = chain(_met(storage, sides.queries, candidates, wanted), drawn)
    rows = references.numbers(storage)
    sample: dict[int, ListedImage] = {}
    for number in drawn:
        row = rows.row(number)
        sample[number] = ListedImage(
            *(row.image_id, row.role, row.uri, row.member), row.sha256 or "", row.bytes or 0
        )
        if len(sample) == wanted:
            break
    return sample


def _met(
    storage: Storage, queries: RoleParts, candidates: Sequence[str], wanted: int
) -> Iterator[int]:
    """The first candidates, the best, of queries that are drawn."""

    @lru_cache(maxsize=_PARTS_HELD)
    def candidates_of(part: int) -> tuple[Ints, Ints]:
        numbers = read_pairs(storage, candidates[part])
        return numbers.query, numbers.reference

    for number in _drawn(storage, queries, wanted):
        query, reference = candidates_of(int(queries.parts_of(np.array([number]))[0]))
        first = int(np.searchsorted(query, number))
        if first < len(query) and query[first] == number:
            yield int(reference[first])


def _drawn(storage: Storage, side: RoleParts, wanted: int) -> Iterator[int]:
    """The numbers of images that can be read: of each with the next hash after one drawn."""

    @lru_cache(maxsize=_PARTS_HELD)
    def rows_of(part: int) -> pa.Table:
        return tables.read_table(storage, side.image_files[part], ["sha256", "status"])

    for point in sampling_points(wanted):
        at = part_of(point, side.parts)
        for part in (*range(at, side.parts), *range(at)):
            rows = rows_of(part)
            fits = pc.equal(rows["status"], "ok")
            if part == at:
                fits = pc.and_(fits, pc.greater_equal(rows["sha256"], point))
            row = pc.index(fits, True).as_py()
            if row >= 0:
                yield int(side.starts[part]) + row
                break
