"""Candidates → matches and failures: one part file of each for each part of candidates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from copydetect import runs, tables
from copydetect.candidates.pair_numbers import read_pairs
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

_Deadly = tuple[frozenset[int], frozenset[int]]
"""The image_no of queries, and of references, that end the process which opens them."""

Verified = tuple[int, int]
"""A part's number, and how many pairs it has."""


@dataclass(eq=False, repr=False)
class CandidatesToMatches(beam.PTransform[Any, Any]):
    """`MatchWork` → part numbers, once the files of the part are in `folder`. None is passed on."""

    storage: Storage
    sides: Sides
    options: VerifyOptions
    folder: str
    processes: Processes = field(default_factory=Processes)

    def expand(self, work: PCollection[MatchWork]) -> PCollection[int]:
        kept = max(IMAGES_KEPT // max(self.processes.count, 1), _FEWEST_IMAGES_KEPT)
        verifier = _Verifier(self.storage, self.sides, self.options, self.folder, kept)
        parts: PCollection[int] = (
            work
            | "no deadly" >> beam.Map(_with_no_deadly)
            | "verify" >> OnWorkers(verifier.verify, self.processes, verifier.mend)
            | "count" >> beam.ParDo(Count("copydetect", "pairs_verified"))
        )
        return parts


def _with_no_deadly(work: MatchWork | None) -> tuple[MatchWork, _Deadly] | None:
    return None if work is None else (work, (frozenset(), frozenset()))


@dataclass(frozen=True)
class _Opened:
    """The images of queries and references, which all threads of a worker open once."""

    images: tuple[PairImages, PairImages]
    options: VerifyOptions


@dataclass(frozen=True, eq=False)
class _Verifier:
    """Verifies parts; each process loads what it needs once."""

    storage: Storage
    sides: Sides
    options: VerifyOptions
    folder: str
    images_kept: int
    _shared: Shared = field(default_factory=Shared, init=False)

    def _open(self) -> _Opened:
        queries, references = self.sides
        options = self.options.for_collection(references.images)
        opened = self._images_of(queries, options)
        same = references == queries
        return _Opened((opened, opened if same else self._images_of(references, options)), options)

    def _images_of(self, side: RoleParts, options: VerifyOptions) -> PairImages:
        storage = self.storage
        stored = stored_keypoints(storage, side)
        numbers = side.numbers(storage)
        return PairImages(storage, numbers, options, stored, self.images_kept)

    def mend(self, work: tuple[MatchWork, _Deadly]) -> tuple[MatchWork, _Deadly]:
        """The part with those images named that end a process by themselves."""
        (part, candidates, uri), _ = work
        pairs = read_pairs(self.storage, uri)
        queries, references = (
            frozenset(one for one in np.unique(ends) if Processes().ends(self._try, (side, one)))
            for side, ends in enumerate((pairs.query, pairs.reference))
        )
        return (part, candidates, uri), (queries, references)

    def _try(self, image: tuple[int, int]) -> None:
        side, number = image
        opened: _Opened = self._shared.acquire(self._open)
        opened.images[side].open(number)

    def verify(self, work: tuple[MatchWork, _Deadly]) -> Verified:
        """Write the files of a part."""
        (part, candidates, pairs), deadly = work
        opened = self._shared.acquire(self._open)
        for images, numbers in zip(opened.images, deadly, strict=True):
            images.avoid(numbers)
        verified = verify_part(self.storage, candidates, pairs, opened.images, opened.options)
        # `matches` is written last: where it is, the part is complete.
        for name, table in (
            ("verify-failures", verified.failures),
            ("matches", verified.matches),
        ):
            uri = runs.join(self.folder, name, runs.part_name(part))
            tables.write_table(self.storage, uri, table)
        return part, verified.matches.num_rows
