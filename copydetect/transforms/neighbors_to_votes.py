"""Neighbours of local features → votes, one file a part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect import runs
from copydetect.index.channels import PartFiles
from copydetect.search.hits import vote_part, write_votes
from copydetect.search.votes import VoteOptions
from copydetect.storage import Storage
from copydetect.transforms.threads import work_in_one_thread


class NeighborsToVotes(beam.PTransform[Any, Any]):
    """Neighbours files of the features and of their mirror images → the URIs of votes files.

    Takes a pair of collections, upright and mirrored, of (part number, URI).
    """

    def __init__(
        self,
        storage: Storage,
        files: PartFiles,
        options: VoteOptions,
        exclude_self: bool,
        folder: str,
    ) -> None:
        super().__init__()
        self._arguments = (storage, files, options, exclude_self, folder)

    def expand(
        self, neighbors: tuple[PCollection[tuple[int, str]], PCollection[tuple[int, str]]]
    ) -> PCollection[str]:
        uris: PCollection[str] = (
            neighbors
            | "by part" >> beam.CoGroupByKey()
            | "vote" >> beam.Map(_vote, *self._arguments)
        )
        return uris


def _vote(
    work: tuple[int, tuple[Iterable[str], Iterable[str]]],
    storage: Storage,
    files: PartFiles,
    options: VoteOptions,
    exclude_self: bool,
    folder: str,
) -> str:
    work_in_one_thread()
    part, ((upright,), (mirrored,)) = work
    uri = runs.join(folder, runs.part_name(part, "npz"))
    if not storage.exists(uri):
        votes = vote_part(storage, files, part, upright, mirrored, options, exclude_self)
        write_votes(storage, uri, votes)
    return uri
