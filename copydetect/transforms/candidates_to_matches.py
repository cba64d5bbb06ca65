"""Candidates → matches and failures: one part file of each for each part of candidates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from copydetect import runs, tables
from copydetect.candidates.candidate_parts import Side
from copydetect.storage import Storage
from copydetect.transforms.threads import work_in_one_thread
from copydetect.verification.match_parts import PairImages, VerifyOptions, verify_part

MatchWork = tuple[int, str, str]
"""A part: its number, its candidates and its file of pair numbers."""


class CandidatesToMatches(beam.PTransform[Any, Any]):
    """`MatchWork` → part numbers, once the part's files are in `folder`."""

    def __init__(
        self, storage: Storage, sides: tuple[Side, Side], options: VerifyOptions, folder: str
    ) -> None:
        super().__init__()
        self._verify = _VerifyPart(storage, sides, options, folder)

    def expand(self, work: PCollection[MatchWork]) -> PCollection[int]:
        parts: PCollection[int] = (
            work | "spread" >> beam.Reshuffle() | "verify" >> beam.ParDo(self._verify)
        )
        return parts


@dataclass(frozen=True)
class _Opened:
    """The images of queries and references, which all threads of a worker open once."""

    images: tuple[PairImages, PairImages]


class _VerifyPart(beam.DoFn):
    def __init__(
        self, storage: Storage, sides: tuple[Side, Side], options: VerifyOptions, folder: str
    ) -> None:
        self._storage = storage
        self._sides = sides
        self._options = options
        self._folder = folder
        self._shared = Shared()
        self._pairs = Metrics.counter("copydetect", "pairs_verified")

    def setup(self) -> None:
        self._opened = self._shared.acquire(self._open)

    def _open(self) -> _Opened:
        queries, references = self._sides
        opened = self._images_of(queries)
        return _Opened((opened, opened if references == queries else self._images_of(references)))

    def _images_of(self, side: Side) -> PairImages:
        return PairImages(self._storage, side.numbers(self._storage), self._options)

    def process(self, work: MatchWork) -> Iterator[int]:
        work_in_one_thread()
        part, candidates, pairs = work
        images = self._opened.images
        verified = verify_part(self._storage, candidates, pairs, images, self._options)
        # `matches` is written last: where it is, the part is complete.
        for name, table in (
            ("verify-failures", verified.failures),
            ("matches", verified.matches),
        ):
            uri = runs.join(self._folder, name, runs.part_name(part))
            tables.write_table(self._storage, uri, table)
        self._pairs.inc(verified.matches.num_rows)
        yield part
