"""How many files the steps of a dedup read and write, for a collection of any size.

Steps hand their results on through files, and most of them are small: in a bucket each is a request
or more. Counted are files of the run, each time that one is read or written, and not those of the
input. P parts, B blocks of pairs, S shards of an index:

| step | files |
|---|---|
| build an index | P · 6 + S · P |
| search it | P · 6 + S · P · 6: in two rounds each part's queries, floors and results by shard |
| pairs to blocks, and back | B · P · 6; above 512 parts, by bundles of 256, B · P / 256 · 6 |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from copydetect.candidates.candidate_job import blocks_of
from copydetect.index.spills import BUNDLED, is_bundled
from copydetect.parts import part_count

_LISTED_TOGETHER = 4096
_SPILL = 2
"""Files of pairs that are sent: the pairs, and their points."""
_CHANNELS = 2


@dataclass(frozen=True)
class Exchange:
    """The files of one step, and how many they are, read or written."""

    step: str
    files: int


def exchanges(images: int, shards: Sequence[tuple[str, int, int]]) -> list[Exchange]:
    """The steps of a dedup. shards: of each index its name, shards, and how often it is searched.

    A shard is taken to be visited by queries of every part, as in a large collection.
    """
    parts = part_count(images)
    listed = math.ceil(images / _LISTED_TOGETHER)
    found = [Exchange("list", 3 * listed), Exchange("describe", listed + 5 * parts)]
    for name, count, searches in shards:
        found.append(Exchange(f"index {name}", 6 * parts + count * parts + 2 * count))
        found.append(Exchange(f"search {name}", searches * (6 * parts + 6 * count * parts)))
    found.append(Exchange("candidates", pair_files(images, parts)))
    found.append(Exchange("verify and group", 16 * parts))
    found.append(Exchange("totals and report", 24 * parts))
    return found


def pair_files(images: int, parts: int) -> int:
    """The files through which pairs go to blocks, and back to parts."""
    blocks = blocks_of(images, parts)
    kinds = _CHANNELS * _SPILL
    sent = kinds * parts + _SPILL * blocks
    found, kept = parts, blocks
    if is_bundled(parts):
        found = math.ceil(parts / BUNDLED)
        sent += kinds * (parts + found)
        if is_bundled(blocks):
            kept = math.ceil(blocks / BUNDLED)
            sent += _SPILL * (blocks + kept)
    return sent + kinds * blocks * found + _SPILL * parts * kept
