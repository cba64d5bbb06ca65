"""The lists of neighbours and of votes that a catalogue keeps: new entries added, removed ones
dropped.

What is new enters the lists of what was there. For descriptors that is exact: old images are
searched among the new ones. For local features it would mean to search all old features every
night; so the votes that an old image would give a new one are taken to be those that the new one
gives it, which agree in the same features. Votes between old images stay what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from copydetect.index.channels import IMAGE_SHIFT
from copydetect.index.spills import stable_order
from copydetect.search.neighbors import Neighbors, merge_results
from copydetect.search.queries import SearchOptions
from copydetect.search.votes import Votes
from copydetect.sorted_rows import place_in_run, ranges
from copydetect.types import Bools, Ints

_PER_PAIR = ("query", "reference", "votes", "mirrored", "hits")


def living_neighbors(neighbors: Neighbors, living: Bools) -> Neighbors:
    """Lists without images that are gone. living: by image_no."""
    kept = living[neighbors.queries >> IMAGE_SHIFT] & living[neighbors.ids >> IMAGE_SHIFT]
    return neighbors.take(kept)


def merged_neighbors(lists: Sequence[Neighbors], options: SearchOptions) -> Neighbors:
    """The best of several lists of the same queries, as one search finds them."""
    return merge_results(np.concatenate([one.records for one in lists]), options)


def shortened(before: Neighbors, after: Neighbors, options: SearchOptions) -> Ints:
    """Image numbers, ascending, of full lists that have lost an entry: others may belong on them
    now."""
    queries, counts = np.unique(before.queries, return_counts=True)
    full = queries[counts >= options.k]
    left, lengths = np.unique(after.queries, return_counts=True)
    still = left[lengths >= options.k]
    images: Ints = np.unique(np.setdiff1d(full, still) >> IMAGE_SHIFT)
    return images


def turned_votes(votes: Votes, start: int, stop: int) -> Votes:
    """The votes that images start … stop − 1 received, turned round as if they had given them."""
    rows = np.flatnonzero((votes.reference >= start) & (votes.reference < stop))
    rows = rows[votes.query[rows] >= stop]
    taken = _taken(votes, rows)
    points = np.ascontiguousarray(taken.points[:, [2, 3, 0, 1]])
    return replace(taken, query=taken.reference, reference=taken.query, points=points)


def joined_votes(lists: Sequence[Votes]) -> Votes:
    """The votes of several parts, of other images each, one after the other."""
    families = np.unique(np.concatenate([one.families for one in lists]))
    return replace(_joined(lists), families=families)


def no_votes() -> Votes:
    """Lists of images that have no local features."""
    nothing = np.empty(0, np.int64)
    votes, hits = np.empty(0, np.float32), np.empty(0, np.int32)
    points = np.empty((0, 4), np.float32)
    return Votes(
        nothing, nothing, votes, np.empty(0, np.bool_), hits, np.zeros(1, np.int64), points
    )


def merged_votes(lists: Sequence[Votes], living: Bools, keep: int) -> Votes:
    """The `keep` best votes of each image of several lists, without images that are gone.

    The first list, which is the longest, is ordered as `Votes` are.
    """
    joined = _joined(lists)
    alive = living[joined.query] & living[joined.reference]
    # What nothing was added to is in order.
    changed = np.isin(joined.query, joined.query[len(lists[0].query) :])
    rows = np.flatnonzero(alive & changed)
    rows = rows[np.lexsort((joined.reference[rows], -joined.votes[rows], joined.query[rows]))]
    rows = np.concatenate([np.flatnonzero(alive & ~changed), rows])
    order = rows[stable_order(joined.query[rows])]
    ranks = place_in_run(joined.query[order])
    families = np.unique(np.concatenate([one.families for one in lists]))
    return replace(_taken(joined, order[ranks < keep]), families=families[living[families]])


def votes_of(votes: Votes, first: int, stop: int) -> Votes:
    """The votes of images first … stop − 1, of lists that are ordered by image."""
    begin, end = np.searchsorted(votes.query, (first, stop))
    families = votes.families[(votes.families >= first) & (votes.families < stop)]
    return replace(_taken(votes, np.arange(begin, end)), families=families)


def _joined(lists: Sequence[Votes]) -> Votes:
    counts = np.concatenate([np.empty(0, np.int64), *(np.diff(one.starts) for one in lists)])
    columns = {
        name: np.concatenate([getattr(one, name) for one in lists])
        for name in (*_PER_PAIR, "points")
    }
    return Votes(**columns, starts=np.r_[0, np.cumsum(counts)].astype(np.int64))


def _taken(votes: Votes, rows: Ints) -> Votes:
    """Some rows, in their order, with their points."""
    counts = np.diff(votes.starts)[rows]
    columns = {name: getattr(votes, name)[rows] for name in _PER_PAIR}
    points = votes.points[ranges(votes.starts[rows], counts)]
    return Votes(**columns, starts=np.r_[0, np.cumsum(counts)].astype(np.int64), points=points)
