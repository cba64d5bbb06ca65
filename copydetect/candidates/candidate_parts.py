"""Neighbours and votes of all parts → candidate pairs, written in parts again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from copydetect import runs, tables
from copydetect.candidates.densities import DensityOptions, similarity_densities, vote_densities
from copydetect.candidates.descriptor_pairs import (
    described_side,
    joined,
    neighbor_pairs,
    proposed_pairs,
)
from copydetect.candidates.fusion import (
    CandidateOptions,
    CandidatePairs,
    LocalPairs,
    merge_duplicates,
    merge_matches,
)
from copydetect.index.channels import PartFiles
from copydetect.index.spills import read_arrays, write_arrays
from copydetect.parts import ImageNumbers
from copydetect.search.hits import read_votes
from copydetect.search.votes import Votes
from copydetect.storage import Storage

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Side:
    """One side of a search: the parts of its descriptors, and image_no → images.

    image_files: parts of `images`; image_counts: their rows; descriptors: None where that channel
    is off.
    """

    image_files: tuple[str, ...]
    image_counts: tuple[int, ...]
    descriptors: PartFiles | None

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(self.image_counts)

    def numbers(self, storage: Storage) -> ImageNumbers:
        """Looks images up by their number."""
        return ImageNumbers(storage, self.image_files, self.image_counts)


@dataclass(frozen=True)
class Proposals:
    """What both channels found; empty for a channel that is off.

    neighbors: files of descriptors' neighbours; votes: of local features' votes; references: None
    where a collection is searched for itself; views: names of the views, in their order.
    """

    neighbors: tuple[str, ...]
    votes: tuple[str, ...]
    queries: Side
    references: Side | None
    views: tuple[str, ...]

    @property
    def symmetric(self) -> bool:
        """Whether a collection is searched for itself."""
        return self.references is None


@dataclass(frozen=True)
class PairNumbers:
    """Candidates as numbers, in the order of their table; row i of each belongs together.

    query, reference: (n,) int64 image_no; correspondences of row i are rows
    starts[i]:starts[i + 1] of points: (p, 4) float32, as in `votes.Votes`.
    """

    query: Ints
    reference: Ints
    starts: Ints
    points: Floats

    def correspondences(self, row: int) -> Floats:
        """(n, 4) float32: what the search found to agree in a pair, none for descriptors' own."""
        return self.points[self.starts[row] : self.starts[row + 1]]


def write_candidates(
    storage: Storage,
    proposals: Proposals,
    options: CandidateOptions,
    density: DensityOptions,
    folder: str,
    pairs_folder: str,
) -> list[str]:
    """Merge what both channels found, and write it: one table and one file of `PairNumbers` for
    each part of the queries. Returns the tables' URIs."""
    votes = _all_votes(storage, proposals)
    pairs, views = _merged(storage, votes, proposals, options, density)
    sides = proposals.queries, proposals.references or proposals.queries
    queries, references = (side.numbers(storage) for side in sides)
    uris = []
    for part in range(len(proposals.queries.image_files)):
        ends = [queries.start_of(part), queries.start_of(part + 1)]
        first, last = np.searchsorted(pairs.query, ends)
        rows = slice(int(first), int(last))
        uri = runs.join(folder, runs.part_name(part))
        some = CandidatePairs(**{name: values[rows] for name, values in vars(pairs).items()})
        write_pairs(storage, runs.join(pairs_folder, runs.part_name(part, "npz")), some, votes)
        table = _table(some, queries, references, _view_names(some, views, proposals.views))
        tables.write_table(storage, uri, table)
        uris.append(uri)
    return uris


def write_pairs(storage: Storage, uri: str, pairs: CandidatePairs, votes: Votes | None) -> None:
    """Write the `PairNumbers` of some candidates."""
    points = [np.empty((0, 4), np.float32) for _ in pairs.query]
    if votes is not None:
        for row in np.flatnonzero(pairs.local_row >= 0):
            points[row] = _points_of(votes, int(pairs.local_row[row]), int(pairs.query[row]))
    starts = np.concatenate([[0], np.cumsum([len(one) for one in points])]).astype(np.int64)
    together = np.concatenate([np.empty((0, 4), np.float32), *points])
    write_arrays(
        storage,
        uri,
        "",
        query=pairs.query,
        reference=pairs.reference,
        starts=starts,
        points=together,
    )


def read_pairs(storage: Storage, uri: str) -> PairNumbers:
    """Read what `write_pairs` wrote; IndexFileError where the file is missing or damaged."""
    return PairNumbers(**read_arrays(storage, uri)[1])


def _points_of(votes: Votes, row: int, query: int) -> Floats:
    """Correspondences of one vote, turned round where it was cast from the other side."""
    points = votes.points[votes.starts[row] : votes.starts[row + 1]]
    return points if votes.query[row] == query else points[:, [2, 3, 0, 1]]


def _merged(
    storage: Storage,
    votes: Votes | None,
    proposals: Proposals,
    options: CandidateOptions,
    density: DensityOptions,
) -> tuple[CandidatePairs, npt.NDArray[np.int32]]:
    """Candidates, and the views (n, 2) of the descriptor pairs that `descriptor_row` counts."""
    images = proposals.queries.images
    local = LocalPairs(votes.query, votes.reference, votes.votes) if votes else None
    local_density = vote_densities(local.query, local.votes, images, density) if local else None
    merge = merge_duplicates if proposals.symmetric else merge_matches
    if proposals.queries.descriptors is None or not proposals.neighbors:
        nothing = np.empty((0, 2), np.int32)
        return merge(None, local, (None, local_density), options), nothing
    queries = described_side(storage, proposals.queries.descriptors)
    references = queries
    if proposals.references and proposals.references.descriptors:
        references = described_side(storage, proposals.references.descriptors)
    sides = queries, references, proposals.symmetric
    found = neighbor_pairs(storage, proposals.neighbors, *sides)
    # Only what the search returned tells how crowded it is around an image.
    crowd = similarity_densities(found[0].query, found[0].score, images, density)
    if local:
        proposed = proposed_pairs((local.query, local.reference), found[0], *sides)
        found = joined(found, proposed)
    return merge(found[0], local, (crowd, local_density), options), found[1]


def _all_votes(storage: Storage, proposals: Proposals) -> Votes | None:
    """The votes of all parts, one behind the other."""
    if not proposals.votes:
        return None
    found = [read_votes(storage, uri) for uri in proposals.votes]
    columns = {
        name: np.concatenate([getattr(one, name) for one in found]) for name in vars(found[0])
    }
    sizes = np.concatenate([np.diff(one.starts) for one in found])
    columns["starts"] = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Votes(**columns)


def _view_names(
    pairs: CandidatePairs, views: npt.NDArray[np.int32], names: Sequence[str]
) -> list[tuple[str | None, str | None]]:
    return [
        (names[views[row, 0]], names[views[row, 1]]) if row >= 0 else (None, None)
        for row in pairs.descriptor_row
    ]


def _table(
    pairs: CandidatePairs,
    queries: ImageNumbers,
    references: ImageNumbers,
    views: Sequence[tuple[str | None, str | None]],
) -> pa.Table:
    """Rows of the candidates table; a channel that is silent is null."""
    scores = ("similarity", "descriptor_score", "votes", "local_score", "score")
    columns = {
        "query_id": [queries.row(number).image_id for number in pairs.query.tolist()],
        "reference_id": [references.row(number).image_id for number in pairs.reference.tolist()],
        **{name: pa.array(getattr(pairs, name), from_pandas=True) for name in scores},
        "query_view": [query for query, _ in views],
        "reference_view": [reference for _, reference in views],
        "rank": pairs.rank,
    }
    return pa.table(columns, schema=tables.CANDIDATES)
