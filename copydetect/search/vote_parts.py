"""The neighbours of the local features of one part → the votes of its images."""

from __future__ import annotations

import numpy as np

from copydetect import runs
from copydetect.description.keypoints import load_quantiser
from copydetect.index.channels import image_numbers, query_ids, read_keypoints
from copydetect.index.spills import read_arrays, write_arrays
from copydetect.parts import PART, PartNames, RoleParts
from copydetect.search.neighbors import Neighbors, read_neighbors
from copydetect.search.votes import Votes, query_features, vote
from copydetect.sorted_rows import place_in_run
from copydetect.storage.files import Storage
from copydetect.tables import read_table
from copydetect.types import Floats, Ints


def vote_part(
    storage: Storage,
    files: RoleParts,
    part: int,
    neighbors: str,
    exclude_self: bool,
    family_distance: float = 0.0,
) -> Votes:
    """The votes of the query images of one part, from the neighbours of their features.

    neighbors: the neighbours file of the features and of those of the mirror images; exclude_self,
    family_distance: as of `vote`.
    """
    uri = files.keypoints[part]
    keypoints = read_keypoints(read_table(storage, uri))
    numbers = image_numbers(storage, files, part, [one.image_id for one in keypoints])
    features, _ = query_features(numbers.tolist(), keypoints, load_quantiser())
    found, queries = read_neighbors(storage, neighbors), query_ids(numbers.tolist(), keypoints)
    ids, distances = hit_rows(found, queries, max(1, most_neighbors(found)))
    return vote(features, ids, distances, exclude_self, family_distance)


def most_neighbors(neighbors: Neighbors) -> int:
    """The most neighbours that one query has."""
    return int(np.unique(neighbors.queries, return_counts=True)[1].max(initial=0))


def hit_rows(neighbors: Neighbors, queries: Ints, width: int) -> tuple[Ints, Floats]:
    """Neighbours as rows of hits, nearest first.

    queries: (n,) ids of features. Returns ids (n, width), −1 where there is no further hit, and
    squared distances (n, width), there the row's largest.
    """
    found, rows = np.unique(neighbors.queries, return_inverse=True)
    ids = np.full((len(found) + 1, width), -1, np.int64)
    distances = np.zeros((len(found) + 1, width), np.float32)
    columns = place_in_run(rows)
    ids[rows, columns] = neighbors.ids
    distances[rows, columns] = -neighbors.scores
    distances = np.maximum.accumulate(distances, axis=1)
    # The row behind the last stands for features that found nothing.
    at = np.searchsorted(found, queries)
    at[at == len(found)] = 0
    known = found[at] == queries if len(found) else np.zeros(len(queries), bool)
    row_of = np.where(known, at, len(found))
    return ids[row_of], distances[row_of]


def votes_uri(folder: str, part: int) -> str:
    """Where the votes of a part are, in the folder of a search."""
    return runs.join(folder, "votes", runs.part_name(part, "npz"))


def votes_uris(folder: str, parts: int) -> PartNames:
    """Those of all parts."""
    return PartNames(runs.join(folder, "votes"), PART, parts, "npz")


def write_votes(storage: Storage, uri: str, votes: Votes) -> None:
    """Write the votes of one part."""
    write_arrays(storage, uri, "", **vars(votes))


def read_votes(storage: Storage, uri: str) -> Votes:
    """Read the votes of one part; IndexFileError where the file is missing or damaged."""
    return Votes(**read_arrays(storage, uri)[1])
