"""All images of a catalogue → candidates → verdicts; only new pairs are verified."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.candidates.density_steps import scale_step
from copydetect.candidates.pair_numbers import read_pairs, write_work
from copydetect.catalog.compaction import merged_tail
from copydetect.catalog.files import CatalogFile, key_of, standing_files
from copydetect.catalog.generations import CatalogPart, Generation, read_part_table, with_files
from copydetect.catalog.packing import GenerationWriter, part_stem
from copydetect.catalog.readable import numbers_of
from copydetect.catalog.verdicts import (
    VERDICTS,
    PairsToVerify,
    as_matches,
    for_size,
    judged,
    newest,
    spare_wanted,
    wanted,
    with_proposed,
    without,
)
from copydetect.parts import Sides
from copydetect.types import Bools
from copydetect.verification.match_parts import VerifyOptions
from copydetect.verification.overturned import NAMES
from copydetect.verification.priors import Standing

from .. import stages
from ..stages import Workplace
from .job import NightJob, decides_otherwise
from .search import NightSearch
from .sides import side_of
from .young import Searched

_PAIRS_TOGETHER = 128


@dataclass(frozen=True)
class Found:
    """The verdicts on all pairs of a catalogue.

    parts: with their verdicts; matches: what tonight's search proposes and was verified, and
    before: the same of the night before, rows of `matches` by keys; failures: of files that could
    not be opened to be compared; verified: how many pairs were looked at; small: whether the
    catalogue is too small for scores to mean anything; scale: how crowded it is, as in
    `DensityScale`; trained: whether the indexes' partitions were trained anew; verifier: of further
    pairs.
    """

    parts: tuple[CatalogPart, ...]
    matches: pa.Table
    before: pa.Table
    failures: pa.Table
    verified: int
    small: bool
    scale: dict[str, float]
    trained: bool
    verifier: Verifier


def verified_pairs(
    job: NightJob,
    place: Workplace,
    writer: GenerationWriter,
    parts: Sequence[CatalogPart],
    files: Mapping[int, CatalogFile],
    night_before: Generation | None,
) -> Found:
    """Search what is new, and verify the pairs that are to be looked at. parts: all, the new ones
    too."""
    catalog = _Catalog(job, place, writer, tuple(parts), files)
    standing = standing_files(files.values())
    options, small = for_size(job.settings.verification, len(standing))
    remembered = read_part_table(job.storage, job.catalog, tuple(parts), "matches", VERDICTS)
    gone = {key_of(number) for number in range(catalog.numbers) if number not in standing}
    living = np.isin(np.arange(catalog.numbers), list(standing))
    old = len(night_before.parts) if night_before else 0
    search = NightSearch(job, place, catalog.parts, old, living, night_before, job.request.whole)
    searched = search.searched()
    catalog = catalog.with_lists(searched)
    # What is not verified is of no use to a catalogue.
    merged = replace(job.settings.candidates, least_score=options.min_score)
    merging = searched.proposals, merged, search.known_scale
    proposing = stages.propose(searched.place, *merging)
    candidates = place.run(proposing, searched.proposals.queries.parts)
    strictly = search.is_young or job.request.upkeep == "rebuild"
    anew = _verifies_all(job, night_before, small)
    verifier = Verifier(catalog.job, place, catalog.sides, files, options, strictly, anew)
    asked = catalog.asked(candidates, searched, options)
    judge = _Judge(verifier, asked, without(remembered, gone))
    found = judge.found()
    return Found(
        merged_tail(writer, catalog.with_verdicts(with_proposed(judge.verdicts, found))),
        found.select(tables.MATCHES.names),
        as_matches(remembered),
        judge.failures,
        judge.verified,
        small,
        vars(scale_step(searched.place.candidate_job(*merging))),
        search.is_whole and search.trains,
        verifier,
    )


def _verifies_all(job: NightJob, before: Generation | None, small: bool) -> bool:
    """Whether nothing that was said before stands."""
    if before is None or bool(before.counts.get("small")) != small:
        return True
    return job.request.upkeep == "rebuild" and bool(decides_otherwise(job, before.era))


@dataclass(frozen=True)
class Verifier:
    """Verifies pairs of a catalogue.

    strictly: whether pairs are looked at again that would be looked at in another way now, as a run
    over everything does; anew: whether all are.
    """

    job: NightJob
    place: Workplace
    sides: Sides
    files: Mapping[int, CatalogFile]
    options: VerifyOptions
    strictly: bool
    anew: bool

    def to_verify(self, asked: PairsToVerify, known: pa.Table) -> Bools:
        """(n,) bool: which pairs need to be verified. known: rows of `VERDICTS`."""
        return asked.to_verify(known.slice(0, 0) if self.anew else known, self.strictly)

    def look(
        self, asked: PairsToVerify, name: str, standing: Standing = Standing.ALONE
    ) -> tuple[pa.Table, pa.Table]:
        """Verify pairs; `VERDICTS` rows, and failures of files that could not be opened.

        name: of the folder for this; standing: what other pairs say of them. The pairs are first
        written in parts of their own.
        """
        place = replace(self.place, folder=runs.join(self.place.folder, name))
        storage, uris, told = self.job.storage, list[str](), asked.rounded()
        for start in range(0, told.num_rows, _PAIRS_TOGETHER):
            rows = np.arange(start, min(start + _PAIRS_TOGETHER, told.num_rows))
            some = told.take(pa.array(rows)), asked.pairs.take(rows)
            _, uri, _ = write_work(storage, place.folder, len(uris), *some)
            uris.append(uri)
        if not uris:
            return VERDICTS.empty_table(), tables.FAILURES.empty_table()
        # They are all to be looked at, those too whose score is rounded to less than that asks.
        # That is told by all pairs of the catalogue, and not by those of one part.
        options = replace(self.options, min_score=-math.inf, standing=standing)
        matches = place.run(stages.verify(place, self.sides, uris, options), len(uris))
        failed = place.files(place.folder, "verify-failures")
        return (
            asked.verdicts(tables.read_tables(storage, matches, tables.MATCHES)),
            tables.read_tables(storage, failed, tables.FAILURES),
        )


class _Judge:
    """Verdicts on what tonight's search proposes; only what has none is looked at.

    verdicts: all that are known by now; failures, verified: as in `Found`.
    """

    def __init__(self, verifier: Verifier, asked: PairsToVerify, known: pa.Table) -> None:
        self._verifier, self._asked, self._known = verifier, asked, known
        self.verdicts = known
        self.failures = tables.FAILURES.empty_table()
        self.verified = 0

    def found(self) -> pa.Table:
        """`VERDICTS` rows of the pairs that count tonight."""
        asked, options = self._asked, self._verifier.options
        new = self._verifier.to_verify(asked, self._known)
        spare = asked.spare
        self._look(asked.take(np.flatnonzero(new & ~spare)), "verified")
        left = spare_wanted(asked, self.verdicts, options)
        self._look(asked.take(np.flatnonzero(new & left)), "verified-spare")
        asked = asked.take(np.flatnonzero(~spare | left))
        found = judged(asked.candidates, self.verdicts, options)
        if found.overturned.any():
            for standing, name in NAMES.items():
                wanted = found.overturned & (found.standings == standing)
                overturned = found.matches.filter(pa.array(wanted))
                again = asked.take(np.flatnonzero(~asked.to_verify(overturned, False)))
                self._look(again, f"verified-{name}", standing)
            found = judged(asked.candidates, self.verdicts, options)
        self._keep_failures_of_unknown()
        return found.matches

    def _look(self, asked: PairsToVerify, name: str, standing: Standing = Standing.ALONE) -> None:
        verdicts, failures = self._verifier.look(asked, name, standing)
        # Of a pair whose files are gone, what was said before stands.
        self.verdicts = newest([self.verdicts, verdicts])
        self.failures = pa.concat_tables([self.failures, failures])
        self.verified += len(verdicts)

    def _keep_failures_of_unknown(self) -> None:
        """Forget failures of files whose pairs all have a verdict from an earlier night."""
        unknown = self._asked.candidates.filter(
            pa.array(self._asked.to_verify(self.verdicts, False))
        )
        ends = pa.chunked_array(
            [*unknown["query_id"].chunks, *unknown["reference_id"].chunks], pa.string()
        )
        self.failures = self.failures.filter(pc.is_in(self.failures["image_id"], value_set=ends))


@dataclass(frozen=True)
class _Catalog:
    """All parts of a catalogue during a night."""

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

    def with_lists(self, searched: Searched) -> _Catalog:
        """The same with the lists of what each image is near to, which the next night goes on
        with; files that hold what they held stay."""
        parts = []
        for at, part in enumerate(self.parts):
            entries = {}
            for table, uris in (("neighbors", searched.neighbors), ("votes", searched.votes)):
                if uris:
                    suffix = uris[at].rpartition(".")[2]
                    name = f"{part_stem(part.start)}.{suffix}"
                    entries[table] = self.writer.kept(part.files.get(table), table, name, uris[at])
            parts.append(with_files(part, entries))
        return replace(self, parts=tuple(parts))

    def asked(
        self, candidates: Sequence[str], searched: Searched, options: VerifyOptions
    ) -> PairsToVerify:
        """The candidates that are verified; candidates: their tables, by part."""
        storage = self.job.storage
        parts = []
        for part, uri in enumerate(candidates):
            table = tables.read_table(storage, uri)
            rows = wanted(table, options)
            numbers = runs.join(searched.place.folder, "pairs", runs.part_name(part, "npz"))
            pairs = searched.numbered(read_pairs(storage, numbers).take(rows))
            parts.append(PairsToVerify.of(table.take(pa.array(rows)), pairs, self.files))
        return PairsToVerify.joined(parts)

    def with_verdicts(self, verdicts: pa.Table) -> tuple[CatalogPart, ...]:
        """The parts with their verdicts, each that of the smaller number; unchanged files stay."""
        verdicts = verdicts.sort_by([("query_id", "ascending"), ("reference_id", "ascending")])
        ends = [numbers_of(verdicts[name]) for name in ("query_id", "reference_id")]
        first = np.minimum(*ends)
        parts = []
        for part in self.parts:
            inside = (first >= part.start) & (first < part.start + part.rows)
            own = verdicts.filter(pa.array(inside))
            entry = part.files.get("matches")
            if entry is None or not self.writer.read(entry).equals(own):
                entry = self.writer.write("matches", part_stem(part.start), own)
            parts.append(with_files(part, {"matches": entry}))
        return tuple(parts)
