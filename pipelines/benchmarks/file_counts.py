"""How many files the steps of a dedup read and write, for a collection of any size.

Steps hand their results on through files, and most of them are small: in a bucket each is a request
or more. Counted are files of the run, each time that one is read or written, and not those of the
input. P parts, B blocks of pairs, S shards of an index:

| step | files |
|---|---|
| build an index | P · 7 + S · P |
| search it | P · 6 + S · P · 3, or · 8 in two rounds: queries, floors and results |
| pairs to blocks, and back | B · P · 6 |

Above 512 parts what P and S, or P and B, exchange goes through bundles of 256, so that `S · P`
becomes `(S · P + P · S) / 256`, and `B · P` becomes `B · P / 256`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from copydetect.candidates.candidate_job import blocks_of
from copydetect.index.building import SECTION_LISTS
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


@dataclass(frozen=True)
class SearchedIndex:
    """An index. lists, shards: how many; rounds: of its search."""

    name: str
    lists: int
    shards: int
    rounds: int = 2


FEATURES = SearchedIndex("keypoints", 0, 0, rounds=1)


def file_counts(images: int, indexes: Sequence[SearchedIndex]) -> list[Exchange]:
    """The steps of a dedup.

    A shard is taken to be visited by queries of every part, as in a large collection.
    """
    parts = part_count(images)
    listed = math.ceil(images / _LISTED_TOGETHER)
    found = [Exchange("list", 3 * listed), Exchange("describe", listed + 5 * parts)]
    for one in indexes:
        built = 5 * parts + vector_files(parts, one.lists, one.shards)
        found.append(Exchange(f"index {one.name}", built))
        found.append(Exchange(f"search {one.name}", search_files(parts, one.shards, one.rounds)))
    found.append(Exchange("candidates", pair_files(images, parts)))
    found.append(Exchange("verify and group", 16 * parts))
    found.append(Exchange("totals and report", 24 * parts))
    return found


def vector_files(parts: int, lists: int, shards: int) -> int:
    """The files through which routed vectors go to shards, and those of the shards."""
    if not is_bundled(parts):
        return 2 * parts + shards * parts + 2 * shards
    groups, sections = math.ceil(parts / BUNDLED), math.ceil(lists / SECTION_LISTS)
    # A shard is of few sections, mostly of one.
    read = groups * (shards + sections)
    return parts + sections * parts + 2 * groups * sections + read + 2 * shards


def search_files(parts: int, shards: int, rounds: int) -> int:
    """The files through which queries go to shards, and results back to parts, and those of what
    each part has found, which are written, counted and read."""
    told, found = rounds - 1, 4 * parts
    if not is_bundled(parts):
        sent, searched = 2 * parts, (3 * rounds + told) * shards * parts
        return sent + searched + told * (parts + shards * parts) + found
    groups, sections = math.ceil(parts / BUNDLED), math.ceil(shards / BUNDLED)
    to = math.ceil(rounds * shards / BUNDLED)
    sent = parts + to * parts + 2 * groups * to
    searched = groups * shards * (3 * rounds + told)
    back = groups * sections * rounds + sections * parts * rounds
    return sent + searched + back + told * (sections * parts + groups) + found


def pair_files(images: int, parts: int) -> int:
    """The files through which pairs go to blocks, and back to parts; a part reads its own to tell
    how crowded it is around its images."""
    blocks = blocks_of(images, parts)
    kinds = _CHANNELS * _SPILL
    sent = kinds * parts + _SPILL * blocks + _CHANNELS * parts
    found, kept = parts, blocks
    if is_bundled(parts):
        found = math.ceil(parts / BUNDLED)
        sent += kinds * (parts + found)
        if is_bundled(blocks):
            kept = math.ceil(blocks / BUNDLED)
            sent += _SPILL * (blocks + kept)
    return sent + kinds * blocks * found + _SPILL * parts * kept
