"""Candidates → matches and failures: one part file of each for each part of candidates."""

from __future__ import annotations

from dataclasses import dataclass
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
from copydetect.workers.processes import Processes, WorkerError

_FEWEST_IMAGES_KEPT = 128

MatchWork = tuple[int, str, str]
"""A part: its number, its candidates and its file of pair numbers."""

_Deadly = tuple[frozenset[int], frozenset[int]]
"""The image_no of queries, and of references, that end the process which opens them."""

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
        verifier = self._verifier
        parts: PCollection[int] = (
            work
            | "no deadly" >> beam.Map(_with_no_deadly)
            | "verify" >> OnWorkers(verifier.verify, self._processes, verifier.mend)
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

    def mend(self, work: tuple[MatchWork, _Deadly]) -> tuple[MatchWork, _Deadly]:
        """The part with those images named that end a process by themselves."""
        (part, candidates, uri), _ = work
        pairs = read_pairs(self._storage, uri)
        queries = frozenset(one for one in np.unique(pairs.query) if self._is_deadly(0, one))
        references = frozenset(one for one in np.unique(pairs.reference) if self._is_deadly(1, one))
        return (part, candidates, uri), (queries, references)

    def _is_deadly(self, side: int, number: int) -> bool:
        try:
            Processes().last_try(self._try, (side, number))
        except WorkerError:
            return True
        return False

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
        verified = verify_part(self._storage, candidates, pairs, opened.images, opened.options)
        # `matches` is written last: where it is, the part is complete.
        for name, table in (
            ("verify-failures", verified.failures),
            ("matches", verified.matches),
        ):
            uri = runs.join(self._folder, name, runs.part_name(part))
            tables.write_table(self._storage, uri, table)
        return part, verified.matches.num_rows
