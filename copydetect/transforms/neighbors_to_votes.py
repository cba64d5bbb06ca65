"""Neighbours of local features → votes, one file a part."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect.channels import PartFiles
from copydetect.hits import vote_part, write_votes
from copydetect.storage import Storage
from copydetect.votes import VoteOptions

VotesWork = tuple[int, str, str, str]
"""A part: its number, its neighbours files (upright and mirrored) and where its votes go."""


class NeighborsToVotes(beam.PTransform[Any, Any]):
    """`VotesWork` → the URIs of the votes files."""

    def __init__(
        self, storage: Storage, files: PartFiles, options: VoteOptions, exclude_self: bool
    ) -> None:
        super().__init__()
        self._arguments = (storage, files, options, exclude_self)

    def expand(self, work: PCollection[VotesWork]) -> PCollection[str]:
        uris: PCollection[str] = (
            work | "spread" >> beam.Reshuffle() | "vote" >> beam.Map(_vote, *self._arguments)
        )
        return uris


def _vote(
    work: VotesWork, storage: Storage, files: PartFiles, options: VoteOptions, exclude_self: bool
) -> str:
    part, upright, mirrored, uri = work
    if not storage.exists(uri):
        votes = vote_part(storage, files, part, upright, mirrored, options, exclude_self)
        write_votes(storage, uri, votes)
    return uri
