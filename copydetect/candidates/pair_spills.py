"""The files through which pairs travel from the part that found them to where they are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from copydetect.candidates.candidate_job import CandidateJob
from copydetect.candidates.ranks import ranks_of
from copydetect.index.spills import (
    Records,
    merge_spills,
    read_destination,
    stable_order,
    write_spill,
)
from copydetect.sorted_rows import ranges
from copydetect.storage.files import Storage
from copydetect.types import Bools, Floats, Ints

FOUND = np.dtype(
    [
        ("query", "<i8"),
        ("reference", "<i8"),
        ("similarity", "<f4"),
        ("score", "<f4"),
        ("views", "<i4", (2,)),
        ("searched", "?"),
        ("crowd", "?"),
        ("little", "?"),
        ("points", "<i4"),
    ]
)
VOTED = np.dtype([("query", "<i8"), ("reference", "<i8"), ("votes", "<f4"), ("points", "<i4")])
MOST_AWAY = 128
"""Below 32,768 images no part has more, so that none of their pairs is left out."""
_POINT = np.dtype([("at", "<f4", (4,))])


@dataclass(frozen=True)
class PairRows:
    """Records of pairs with `query`, `reference` and `points`: how many of `points` are theirs.

    points: (p, 4) float32, those of the first record first.
    """

    records: Records
    points: Floats

    def take(self, rows: Ints) -> PairRows:
        """Some of the pairs, in the order of `rows`."""
        counts = self.records["points"].astype(np.int64)
        starts = np.cumsum(counts) - counts
        return PairRows(self.records[rows], self.points[ranges(starts[rows], counts[rows])])

    @staticmethod
    def joined(pieces: Sequence[PairRows]) -> PairRows:
        """All pairs of several, of at least one."""
        records = np.concatenate([piece.records for piece in pieces])
        return PairRows(records, np.concatenate([piece.points for piece in pieces]))


class Ends(NamedTuple):
    """Which records go to which block: rows and blocks, each pair of both belongs together; capped:
    how many do not go to the block of their reference."""

    rows: Ints
    blocks: Ints
    capped: int = 0


def ends_of(job: CandidateJob, records: Records, value: str) -> Ends:
    """Where the records of a part go. In a collection searched for itself each pair goes to the
    blocks of both of its images.

    An image that everything resembles, such as a blank page, would have its block hold a pair of
    every image. So of the pairs that a part has with one image elsewhere, only the best
    `MOST_AWAY` go there; all are scored where their query is. value: the column that tells.
    """
    rows = np.arange(len(records))
    own = job.blocks_of(records["query"])
    if not job.proposals.symmetric:
        return Ends(rows, own)
    other = job.blocks_of(records["reference"])
    away = np.flatnonzero(other != own)
    sent = away[_best_of_each(*(records[name][away] for name in ("reference", "query", value)))]
    ends = np.concatenate([rows, sent]), np.concatenate([own, other[sent]])
    return Ends(*ends, len(away) - len(sent))


def _best_of_each(reference: Ints, query: Ints, values: Floats) -> Bools:
    """(n,) bool: which are among the best `MOST_AWAY` of their reference. Few have more."""
    ordered = np.sort(reference)
    many = ordered[MOST_AWAY:][ordered[MOST_AWAY:] == ordered[:-MOST_AWAY]]
    rows = np.flatnonzero(np.isin(reference, many))
    best = np.ones(len(reference), np.bool_)
    best[rows] = ranks_of(reference[rows], query[rows], values[rows]) <= MOST_AWAY
    return best


def send(storage: Storage, uri: str, pairs: PairRows, to: tuple[Ints, Ints]) -> None:
    """Write pairs sorted by where they go; `to`: rows and destinations, as of `Ends`."""
    rows, destinations = to
    order = stable_order(destinations)
    destinations, sent = destinations[order], pairs.take(rows[order])
    counts = sent.records["points"].astype(np.int64)
    points = np.ascontiguousarray(sent.points, np.float32).view(_POINT)[:, 0]
    write_spill(storage, _points_uri(uri), np.repeat(destinations, counts), points)
    write_spill(storage, uri, destinations, sent.records)


def is_sent(storage: Storage, uri: str) -> bool:
    """Whether everything that was sent has been written."""
    return storage.is_whole(uri) and storage.is_whole(_points_uri(uri))


def _points_uri(uri: str) -> str:
    return f"{uri}.points"


def receive(storage: Storage, uris: Sequence[str], to: int, dtype: np.dtype[np.void]) -> PairRows:
    """What was sent to a destination, in the order of `uris`."""
    pieces = [PairRows(np.empty(0, dtype), np.empty((0, 4), np.float32))]
    for uri in uris:
        names = uri, _points_uri(uri)
        records, points = (read_destination(storage, name, to) for name in names)
        if len(records):
            pieces.append(PairRows(records, points["at"]))
    return PairRows.joined(pieces)


def bundle(storage: Storage, uris: Sequence[str], uri: str) -> None:
    """Write what was sent by several as if one had sent it, in the order of `uris`."""
    if not is_sent(storage, uri):
        merge_spills(storage, list(map(_points_uri, uris)), _points_uri(uri))
        merge_spills(storage, uris, uri)
