"""Neighbours of local features → votes, one file per part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect.parts import RoleParts
from copydetect.search.neighbors import neighbors_uri
from copydetect.search.vote_parts import vote_part, votes_uri, write_votes
from copydetect.storage.files import Storage
from copydetect.transforms.run_in_processes import OnWorkers
from copydetect.workers.processes import Processes


@dataclass(frozen=True)
class VoteJob:
    """The voting of local features. files: of the queries; exclude_self: whether an image does not
    vote for itself; family_distance: as of `votes.vote`; folder: of the finished search of their
    features and of those of their mirror images; the votes are below it.
    """

    storage: Storage
    files: RoleParts
    exclude_self: bool
    family_distance: float
    folder: str

    def vote(self, part: int) -> str:
        """Count the votes of a part; returns the URI of their file."""
        uri = votes_uri(self.folder, part)
        if not self.storage.is_whole(uri):
            votes = vote_part(
                self.storage,
                self.files,
                part,
                neighbors_uri(self.folder, part),
                self.exclude_self,
                self.family_distance,
            )
            write_votes(self.storage, uri, votes)
        return uri


@dataclass(eq=False, repr=False)
class NeighborsToVotes(beam.PTransform[Any, Any]):
    """Numbers of parts, once the search is done → URIs of votes files. None is passed on."""

    job: VoteJob
    processes: Processes = field(default_factory=Processes)

    def expand(self, parts: PCollection[int]) -> PCollection[str]:
        uris: PCollection[str] = parts | "vote" >> OnWorkers(self.job.vote, self.processes)
        return uris
