"""Pairs that were not verified at first, and that grouping turns out to need → work for
verification."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from copydetect import runs, tables
from copydetect.candidates.pair_numbers import PairNumbers, write_pairs
from copydetect.grouping.involved import NUMBER
from copydetect.grouping.pairs import numbers_of
from copydetect.storage.files import Storage
from copydetect.types import Candidate

_TOGETHER = 64
"""Pairs of a part: of a kept image that is opened once, and few enough to spread the work."""


def comparisons_name(pairs: Sequence[Candidate]) -> str:
    """A name for these pairs, so that the files of other pairs are not taken for theirs."""
    named = (f"{pair.query_id}\0{pair.reference_id}\0" for pair in pairs)
    return hashlib.sha256("".join(named).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def spare_candidates(storage: Storage, uris: Sequence[str]) -> pa.Table:
    """The spare rows of the `candidates` tables."""
    parts = (tables.read_table(storage, uri) for uri in uris)
    found = [part.filter(part["spare"]) for part in parts]
    return pa.concat_tables([tables.CANDIDATES.empty_table(), *found])


def write_comparisons(
    storage: Storage, folder: str, pairs: Sequence[Candidate], images: pa.Table
) -> list[tuple[int, str, str]]:
    """Write pairs as parts of candidates; each part's number, its candidates and its pair numbers.

    images: rows of the `images` table with their numbers, as of `involved`.
    """
    work = []
    image_numbers = images[NUMBER].to_numpy()
    for part, start in enumerate(range(0, len(pairs), _TOGETHER)):
        table = tables.rows_to_table(pairs[start : start + _TOGETHER], tables.CANDIDATES)
        query, reference = (
            image_numbers[numbers_of(images, table[name])] for name in ("query_id", "reference_id")
        )
        starts, points = np.zeros(len(table) + 1, np.int64), np.empty((0, 4), np.float32)
        candidates = runs.join(folder, "candidates", runs.part_name(part))
        numbers = runs.join(folder, "pairs", runs.part_name(part, "npz"))
        write_pairs(storage, numbers, PairNumbers(query, reference, starts, points))
        tables.write_table(storage, candidates, table)
        work.append((part, candidates, numbers))
    return work
