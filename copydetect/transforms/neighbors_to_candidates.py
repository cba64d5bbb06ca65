"""What both channels found → candidates, one file a part of the queries."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect.candidates.candidate_parts import Proposals, write_candidates
from copydetect.candidates.densities import DensityOptions
from copydetect.candidates.fusion import CandidateOptions
from copydetect.storage import Storage


class NeighborsToCandidates(beam.PTransform[Any, Any]):
    """One element, `Proposals` → the URIs of the candidates tables.

    Pairs of all parts are ranked together, by one worker: about 100 bytes a pair.
    """

    def __init__(
        self,
        storage: Storage,
        options: CandidateOptions,
        density: DensityOptions,
        folder: str,
        pairs_folder: str,
    ) -> None:
        super().__init__()
        self._arguments = (storage, options, density, folder, pairs_folder)

    def expand(self, proposals: PCollection[Proposals]) -> PCollection[str]:
        uris: PCollection[str] = proposals | "merge" >> beam.FlatMap(_merge, *self._arguments)
        return uris


def _merge(
    proposals: Proposals,
    storage: Storage,
    options: CandidateOptions,
    density: DensityOptions,
    folder: str,
    pairs_folder: str,
) -> list[str]:
    return write_candidates(storage, proposals, options, density, folder, pairs_folder)
