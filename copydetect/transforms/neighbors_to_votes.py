"""Neighbours of local features → votes, one file per part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect import runs
from copydetect.parts import RoleParts
from copydetect.search.vote_parts import vote_part, write_votes
from copydetect.search.votes import VoteOptions
from copydetect.storage.files import Storage
from copydetect.transforms.work_on_parts import WorkOnParts
from copydetect.workers.processes import Processes


class NeighborsToVotes(beam.PTransform[Any, Any]):
    """Neighbours files of the features and of their mirror images → the URIs of votes files.

    Takes a pair of collections, upright and mirrored, of (part number, URI).
    """

    def __init__(
        self,
        storage: Storage,
        files: RoleParts,
        options: VoteOptions,
        exclude_self: bool,
        folder: str,
        processes: Processes | None = None,
    ) -> None:
        super().__init__()
        self._voter = _Voter(storage, files, options, exclude_self, folder)
        self._processes = processes or Processes()

    def expand(
        self, neighbors: tuple[PCollection[tuple[int, str]], PCollection[tuple[int, str]]]
    ) -> PCollection[str]:
        uris: PCollection[str] = (
            neighbors
            | "by part" >> beam.CoGroupByKey()
            | "both" >> beam.MapTuple(_both)
            | "vote" >> beam.ParDo(WorkOnParts(self._voter.vote, self._processes))
        )
        return uris


def _both(part: int, uris: tuple[Iterable[str], Iterable[str]]) -> tuple[int, str, str]:
    (upright,), (mirrored,) = uris
    return part, upright, mirrored


@dataclass(frozen=True)
class _Voter:
    """Lets the hits of parts vote, in whatever process it is."""

    storage: Storage
    files: RoleParts
    options: VoteOptions
    exclude_self: bool
    folder: str

    def vote(self, found: tuple[int, str, str]) -> str:
        part, upright, mirrored = found
        uri = runs.join(self.folder, runs.part_name(part, "npz"))
        if not self.storage.is_whole(uri):
            votes = vote_part(
                self.storage, self.files, part, upright, mirrored, self.options, self.exclude_self
            )
            write_votes(self.storage, uri, votes)
        return uri
