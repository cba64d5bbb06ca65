"""Candidates → matches and failures: one part file of each for each part of candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from copydetect import runs, tables
from copydetect.index.channels import stored_keypoints
from copydetect.parts import RoleParts, Sides
from copydetect.storage.files import Storage
from copydetect.transforms.run_in_processes import Count, OnWorkers
from copydetect.verification.match_parts import (
    IMAGES_KEPT,
    PairImages,
    VerifyOptions,
    verify_part,
)
from copydetect.workers.processes import Processes

_FEWEST_IMAGES_KEPT = 128

MatchWork = tuple[int, str, str]
"""A part: its number, its candidates and its file of pair numbers."""

Verified = tuple[int, int]
"""A part's number, and how many pairs it has."""


class CandidatesToMatches(beam.PTransform[Any, Any]):
    """`MatchWork` → part numbers, once the files of the part are in `folder`. None is passed on."""

    def __init__(
        self,
        storage: Storage,
        sides: Sides,
        options: VerifyOptions,
        folder: str,
        processes: Processes | None = None,
    ) -> None:
        super().__init__()
        self._processes = processes or Processes()
        kept = max(IMAGES_KEPT // max(self._processes.count, 1), _FEWEST_IMAGES_KEPT)
        self._verifier = _Verifier(storage, sides, options, folder, kept)

    def expand(self, work: PCollection[MatchWork]) -> PCollection[int]:
        parts: PCollection[int] = (
            work
            | "verify" >> OnWorkers(self._verifier.verify, self._processes)
            | "count" >> beam.ParDo(Count("copydetect", "pairs_verified"))
        )
        return parts


@dataclass(frozen=True)
class _Opened:
    """The images of queries and references, which all threads of a worker open once."""

    images: tuple[PairImages, PairImages]
    options: VerifyOptions


class _Verifier:
    """Verifies parts; each process loads what it needs once."""

    def __init__(
        self,
        storage: Storage,
        sides: Sides,
        options: VerifyOptions,
        folder: str,
        images_kept: int,
    ) -> None:
        self._images_kept = images_kept
        self._storage = storage
        self._sides = sides
        self._options = options
        self._folder = folder
        self._shared = Shared()

    def _open(self) -> _Opened:
        queries, references = self._sides
        options = self._options.for_collection(references.images)
        opened = self._images_of(queries, options)
        same = references == queries
        return _Opened((opened, opened if same else self._images_of(references, options)), options)

    def _images_of(self, side: RoleParts, options: VerifyOptions) -> PairImages:
        storage = self._storage
        stored = stored_keypoints(storage, side)
        numbers = side.numbers(storage)
        return PairImages(storage, numbers, options, stored, self._images_kept)

    def verify(self, work: MatchWork) -> Verified:
        """Write the files of a part."""
        part, candidates, pairs = work
        opened = self._shared.acquire(self._open)
        verified = verify_part(self._storage, candidates, pairs, opened.images, opened.options)
        # `matches` is written last: where it is, the part is complete.
        for name, table in (
            ("verify-failures", verified.failures),
            ("matches", verified.matches),
        ):
            uri = runs.join(self._folder, name, runs.part_name(part))
            tables.write_table(self._storage, uri, table)
        return part, verified.matches.num_rows
