"""Kept images and members of their groups that no search proposed as a pair → verdicts on these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from copydetect import tables
from copydetect.candidates.pair_numbers import PairNumbers
from copydetect.catalog.files import key_of
from copydetect.catalog.verdicts import PairsToVerify, judged, newest, with_proposed
from copydetect.types import Candidate

from .verdicts import Verifier


def compared_with_kept(
    verifier: Verifier, known: pa.Table, pairs: Sequence[Candidate], contents: Mapping[str, int]
) -> tuple[pa.Table, int]:
    """`VERDICTS` rows of the pairs, by keys, and how many were looked at tonight.

    known: such rows of earlier nights; contents: the number of the content of each image_id.
    """
    numbers = np.array(
        [[contents[pair.query_id], contents[pair.reference_id]] for pair in pairs], np.int64
    ).reshape(-1, 2)
    keyed = [
        replace(pair, query_id=key_of(query), reference_id=key_of(reference))
        for pair, (query, reference) in zip(pairs, numbers.tolist(), strict=True)
    ]
    candidates = tables.rows_to_table(keyed, tables.CANDIDATES)
    asked = PairsToVerify.of(candidates, PairNumbers.unproposed(*numbers.T), verifier.files)
    new = asked.take(np.flatnonzero(verifier.to_verify(asked, known)))
    looked, _ = verifier.look(new, "compared")
    verdicts = newest([known, looked])
    found = judged(asked.candidates, verdicts, verifier.options).matches
    return with_proposed(found.slice(0, 0), found), len(looked)
