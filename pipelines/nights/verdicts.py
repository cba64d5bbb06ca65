"""All images of a catalogue → candidates → verdicts, of which only new pairs need a look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from copydetect import runs, tables
from copydetect.candidates.candidate_job import Proposals
from copydetect.candidates.densities import DensityOptions
from copydetect.candidates.density_steps import scale_step
from copydetect.candidates.pair_numbers import PairNumbers, read_pairs, write_pairs
from copydetect.catalog.files import CatalogFile, Ledger, key_of
from copydetect.catalog.generations import CatalogPart, Generation, read_part_table, with_files
from copydetect.catalog.packing import GenerationWriter, part_stem
from copydetect.catalog.readable import numbers_of
from copydetect.catalog.verdicts import (
    as_if_proved,
    chosen_pairs,
    for_size,
    judged,
    newest,
    oriented,
    wanted,
    without,
    without_verdict,
)
from copydetect.description.views import VIEW_NAMES
from copydetect.parts import Sides
from copydetect.verification.match_parts import VerifyOptions

from .. import stages
from ..stages import Workplace
from .job import NightJob
from .search import NightSearch, side_of

Ints = npt.NDArray[np.int64]

_PAIRS_TOGETHER = 128


@dataclass(frozen=True)
class Found:
    """What is known of all pairs of a catalogue.

    parts: with their `matches`; matches: all of these, and before: those of the night before;
    failures: of files that could not be opened to be compared; verified: how many pairs were looked
    at; small: whether the catalogue is too small for scores to mean anything; scale: how crowded it
    is, as in `DensityScale`; trained: whether the indexes' partitions were trained anew.
    """

    parts: tuple[CatalogPart, ...]
    matches: pa.Table
    before: pa.Table
    failures: pa.Table
    verified: int
    small: bool
    scale: dict[str, float]
    trained: bool


def verified_pairs(
    job: NightJob,
    place: Workplace,
    writer: GenerationWriter,
    parts: Sequence[CatalogPart],
    files: Mapping[int, CatalogFile],
    night_before: Generation | None,
) -> Found:
    """Search what is new, and verify the pairs that have no verdict. parts: all, the new ones
    too."""
    catalog = _Catalog(job, place, writer, tuple(parts), files)
    standing = Ledger(files.values()).names()
    options, small = for_size(job.settings.verification, len(standing))
    before = read_part_table(job.storage, job.catalog, tuple(parts), "matches", tables.MATCHES)
    gone = {key_of(number) for number in range(catalog.numbers) if number not in standing}
    known = without(before, gone)
    if night_before is None or bool(night_before.counts.get("small")) != small:
        known = known.slice(0, 0)  # scores have come to mean something
    living = np.zeros(catalog.numbers, np.bool_)
    living[list(standing)] = True
    old = len(night_before.parts) if night_before else 0
    whole = job.wishes.whole
    search = NightSearch(job, place, catalog.parts, old, living, night_before, whole)
    neighbors, votes = search.neighbors(), search.votes()
    proposals = Proposals(tuple(neighbors), tuple(votes), catalog.sides, VIEW_NAMES)
    catalog = catalog.with_lists(proposals)
    merging = (place, proposals, job.settings.candidates, DensityOptions())
    candidates = stages.propose(*merging)
    scale = vars(scale_step(stages.candidate_job(*merging)))
    new, failures = catalog.looked_at(candidates, known, options)
    verdicts = newest([known, *new])
    everything = wanted(tables.read_tables(job.storage, candidates, tables.CANDIDATES), options)
    found = judged(everything, verdicts, options)
    verified = sum(map(len, new))
    if found.overturned.any():
        again = catalog.looked_at_again(candidates, found.matches.filter(found.overturned), options)
        verified += sum(map(len, again))
        verdicts = newest([verdicts, *again])
        found = judged(everything, verdicts, options)
    matches = newest([verdicts, found.matches])
    parts = catalog.with_matches(matches)
    trained = search.is_whole and search.trains
    return Found(parts, matches, before, failures, verified, small, scale, trained)


@dataclass(frozen=True)
class _Catalog:
    """All parts of a catalogue on the night that is at work."""

    job: NightJob
    place: Workplace
    writer: GenerationWriter
    parts: tuple[CatalogPart, ...]
    files: Mapping[int, CatalogFile]

    @property
    def numbers(self) -> int:
        """How many numbers were given."""
        return self.parts[-1].start + self.parts[-1].rows

    @property
    def sides(self) -> Sides:
        """All images, as they are searched in themselves."""
        side = side_of(self.job, self.parts)
        return Sides(side, side)

    def with_lists(self, proposals: Proposals) -> _Catalog:
        """The same with the lists of what each image is near to, which the next night goes on
        with; files that hold what they held stay."""
        parts = []
        for at, part in enumerate(self.parts):
            entries = {}
            for table, uris in (("neighbors", proposals.neighbors), ("votes", proposals.votes)):
                if uris:
                    suffix = uris[at].rpartition(".")[2]
                    name = f"{part_stem(part.start)}.{suffix}"
                    entries[table] = self.writer.kept(part.files.get(table), table, name, uris[at])
            parts.append(with_files(part, entries))
        return replace(self, parts=tuple(parts))

    def looked_at(
        self, candidates: Sequence[str], known: pa.Table, options: VerifyOptions
    ) -> tuple[list[pa.Table], pa.Table]:
        """Verify the candidates without a verdict; their verdicts, and files that failed."""

        def chosen() -> Iterator[tuple[pa.Table, PairNumbers]]:
            for part, uri in enumerate(candidates):
                table = tables.read_table(self.job.storage, uri)
                yield self._some(table, part, without_verdict(table, known, options))

        place = replace(self.place, folder=runs.join(self.place.folder, "verified"))
        return self._verified(place, chosen(), options)

    def looked_at_again(
        self, candidates: Sequence[str], overturned: pa.Table, options: VerifyOptions
    ) -> list[pa.Table]:
        """Verify once more what a score has overturned."""

        def chosen() -> Iterator[tuple[pa.Table, PairNumbers]]:
            for part, uri in enumerate(candidates):
                table = tables.read_table(self.job.storage, uri)
                rows = np.setdiff1d(
                    without_verdict(table, overturned.slice(0, 0), options),
                    without_verdict(table, overturned, options),
                )
                some, pairs = self._some(table, part, rows)
                yield as_if_proved(some), pairs

        place = replace(self.place, folder=runs.join(self.place.folder, "verified-again"))
        return self._verified(place, chosen(), options)[0]

    def _some(self, table: pa.Table, part: int, rows: Ints) -> tuple[pa.Table, PairNumbers]:
        uri = runs.join(self.place.folder, "pairs", runs.part_name(part, "npz"))
        pairs = chosen_pairs(read_pairs(self.job.storage, uri), rows)
        return oriented(table.take(pa.array(rows)), pairs, self.files)

    def _verified(
        self,
        place: Workplace,
        chosen: Iterator[tuple[pa.Table, PairNumbers]],
        options: VerifyOptions,
    ) -> tuple[list[pa.Table], pa.Table]:
        """Verdicts on chosen pairs, which are first written in parts of their own."""
        storage, uris = self.job.storage, list[str]()
        for table, pairs in chosen:
            for start in range(0, table.num_rows, _PAIRS_TOGETHER):
                rows = np.arange(start, min(start + _PAIRS_TOGETHER, table.num_rows))
                number = len(uris)
                uri = runs.join(place.folder, "pairs", runs.part_name(number, "npz"))
                write_pairs(storage, uri, chosen_pairs(pairs, rows))
                uris.append(runs.join(place.folder, "candidates", runs.part_name(number)))
                tables.write_table(storage, uris[-1], table.take(pa.array(rows)))
        if not uris:
            return [], tables.FAILURES.empty_table()
        matches = stages.verify(place, self.sides, uris, options)
        failed = place.files(place.folder, "verify-failures")
        return (
            [tables.read_table(storage, uri) for uri in matches],
            tables.read_tables(storage, failed, tables.FAILURES),
        )

    def with_matches(self, matches: pa.Table) -> tuple[CatalogPart, ...]:
        """The parts with their matches, each that of the smaller number; unchanged files stay."""
        matches = matches.sort_by([("query_id", "ascending"), ("reference_id", "ascending")])
        ends = [numbers_of(matches[name]) for name in ("query_id", "reference_id")]
        first = np.minimum(*ends)
        parts = []
        for part in self.parts:
            inside = (first >= part.start) & (first < part.start + part.rows)
            own = matches.filter(pa.array(inside))
            entry = part.files.get("matches")
            if entry is None or not self.writer.read(entry).equals(own):
                entry = self.writer.write("matches", part_stem(part.start), own)
            parts.append(with_files(part, {"matches": entry}))
        return tuple(parts)
