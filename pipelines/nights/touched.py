"""The groups of a catalogue: those that a night has touched are made anew, the others stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from operator import attrgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.catalog.decisions import undecided
from copydetect.catalog.files import FILES, CatalogFile, Ledger, NightPlan, key_of
from copydetect.catalog.generations import Generation, read_part_table
from copydetect.catalog.lasting_groups import (
    Event,
    LastingGroup,
    group_events,
    touched_contents,
    with_lasting_ids,
)
from copydetect.catalog.packing import GenerationWriter
from copydetect.catalog.readable import images_of, matches_of, named, numbers_of
from copydetect.catalog.verdicts import VERDICTS, as_matches, newest, pair_keys, without
from copydetect.grouping.groups import (
    GroupOptions,
    group_copies,
    images_to_look_at,
    pairs_to_compare,
)
from copydetect.grouping.places import groups_table
from copydetect.types import Failure, GroupMember, ImageRef, Ints

from .. import stages
from ..stages import Workplace
from .comparing import compared_with_kept
from .job import NightJob
from .verdicts import Found

_NUMBER = pa.field("number", pa.int64(), nullable=False)
_GROUPS = tables.GROUPS.append(_NUMBER)
_CHANGED = ("confidence", "is_copy", "relation", "direction")


@dataclass(frozen=True)
class Results:
    """What is known before groups are made. failures: of the night's new files; decided_before,
    decided: what people had decided before, and have by now."""

    job: NightJob
    place: Workplace
    writer: GenerationWriter
    before: Generation | None
    plan: NightPlan
    failures: list[Failure]
    decided_before: pa.Table
    decided: pa.Table


@dataclass(frozen=True)
class TouchedGroups:
    """The groups of a catalogue: those that the night has touched are made anew."""

    results: Results
    generation: Generation
    found: Found
    files: Mapping[int, CatalogFile]

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.files.values())

    @cached_property
    def standing(self) -> dict[int, CatalogFile]:
        """The file that stands for each content."""
        return self.ledger.names()

    @cached_property
    def contents(self) -> pa.Table:
        """Rows of `images` as the catalogue keeps them, by number."""
        job, parts = self.results.job, self.found.parts
        return read_part_table(job.storage, job.catalog, parts, "images", tables.IMAGES)

    @cached_property
    def touched(self) -> Ints:
        """The contents whose groups may be others than they were."""
        plan = self.results.plan
        numbers = [*plan.removed, *(file.number for file in (*plan.moved, *plan.added))]
        # What is forgotten no longer tells what it was.
        direct = {self.files[number].content for number in numbers}
        direct |= {self.old_contents[number] for number in plan.removed}
        direct -= {-1}
        changed = [
            numbers_of(rows[name])
            for rows in (
                self._changed(self.found.matches, self.found.before),
                self._changed(self.found.before, self.found.matches),
            )
            for name in ("query_id", "reference_id")
        ]
        touched = np.unique(np.concatenate([np.array(sorted(direct), np.int64), *changed]))
        edges = [_edges(table) for table in (self.found.matches, self.found.before)]
        return touched_contents(len(self.contents), edges, touched)

    @cached_property
    def old_contents(self) -> dict[int, int]:
        """The content of every image of the night before."""
        before, job = self.results.before, self.results.job
        if before is None:
            return {}
        files = read_part_table(job.storage, job.catalog, before.parts, "files", FILES)
        return dict(zip(files["number"].to_pylist(), files["content"].to_pylist(), strict=True))

    def _changed(self, rows: pa.Table, others: pa.Table) -> pa.Table:
        """Rows that the others do not have, or say something else of."""
        said = [_said(table) for table in (rows, others)]
        return rows.filter(pc.invert(pc.is_in(said[0], value_set=said[1])))

    @cached_property
    def old_rows(self) -> pa.Table:
        """The groups of the night before."""
        before = self.results.before
        if before is None:
            return _GROUPS.empty_table()
        return self.results.writer.read(before.tables["groups"][0])

    @cached_property
    def kept_rows(self) -> pa.Table:
        """Those of them that nothing has touched."""
        contents = [self.old_contents[n] for n in self.old_rows["number"].to_pylist()]
        return self.old_rows.filter(pa.array(~np.isin(contents, self.touched)))

    @cached_property
    def _regrouped(self) -> list[CatalogFile]:
        """The files of touched contents."""
        touched = set(self.touched.tolist())
        return [file for file in self.ledger.living() if file.content in touched]

    @cached_property
    def _tables(self) -> tuple[pa.Table, pa.Table]:
        """Images and matches of the touched, as people read them."""
        images = images_of(self._regrouped, self.contents)
        return images, self._of_touched(self.found.matches)

    def _of_touched(self, matches: pa.Table) -> pa.Table:
        ends = pa.array(sorted({key_of(file.content) for file in self._regrouped}), pa.string())
        inside = pc.and_(
            pc.is_in(matches["query_id"], value_set=ends),
            pc.is_in(matches["reference_id"], value_set=ends),
        )
        return matches_of(matches.filter(inside), self.standing)

    @cached_property
    def histories(self) -> pa.Table:
        """What the files of copies tell of their past, by key; only new ones are looked at."""
        results, job = self.results, self.results.job
        before = results.before
        known = tables.HISTORIES.empty_table()
        if before is not None:
            known = results.writer.read(before.tables["histories"][0])
        living = pa.array([key_of(number) for number in sorted(self.standing)], pa.string())
        known = known.filter(pc.is_in(known["image_id"], value_set=living))
        seen = set(known["image_id"].to_pylist())
        wanted = [
            key_of(self.ledger.by_id[ref.image_id].content)
            for ref in images_to_look_at(*self._tables)
        ]
        refs = [self._ref(key) for key in sorted({*wanted} - seen)]
        place = replace(results.place, folder=runs.join(results.place.folder, "looked"))
        looked = list[str]()
        if refs:
            looking = stages.read_histories(place, refs, job.settings.decoding)
            looked = place.run(looking, len(looking.made))
        return pa.concat_tables(
            [known, *(tables.read_table(job.storage, uri) for uri in looked)]
        ).sort_by("image_id")

    @cached_property
    def _comparisons_before(self) -> pa.Table:
        """The comparisons with kept images of the night before, of contents that are there."""
        before = self.results.before
        if before is None:
            return VERDICTS.empty_table()
        known = self.results.writer.read(before.tables["comparisons"][0])
        gone = {
            key_of(number)
            for name in ("query_id", "reference_id")
            for number in numbers_of(known[name]).tolist()
            if number not in self.standing
        }
        return without(known, gone)

    @cached_property
    def compared(self) -> tuple[pa.Table, int]:
        """Verdicts on kept images and members, of touched groups, that no search proposed as a
        pair; and how many of these were looked at tonight."""
        images, matches = self._tables
        if not len(images):
            return VERDICTS.empty_table(), 0
        pairs = pairs_to_compare(images, matches, self._options, self._named_histories)
        contents = {file.image_id: file.content for file in self._regrouped}
        known = self._comparisons_before
        return compared_with_kept(self.found.verifier, known, pairs, contents)

    @cached_property
    def comparisons(self) -> pa.Table:
        """Those of all groups, as the catalogue keeps them."""
        known = self._comparisons_before
        untouched = ~np.isin(numbers_of(known["query_id"]), self.touched)
        return pa.concat_tables([known.filter(pa.array(untouched)), self.compared[0]]).sort_by(
            [("query_id", "ascending"), ("reference_id", "ascending")]
        )

    @cached_property
    def matches(self) -> pa.Table:
        """Rows of `matches`, by keys: what was proposed, and what was compared with kept images."""
        decided_on = undecided(as_matches(self.comparisons), self.results.decided, self.standing)
        return newest([self.found.matches, decided_on], tables.MATCHES)

    @property
    def _options(self) -> GroupOptions:
        settings = self.results.job.settings
        return GroupOptions(keep=settings.keeping, neighbors=settings.k)

    @cached_property
    def _named_histories(self) -> pa.Table:
        return named(self.histories, self.standing)

    def _ref(self, key: str) -> ImageRef:
        file = self.standing[int(key)]
        return ImageRef(key, file.uri, file.member, "image")

    def grouped(self) -> tuple[pa.Table, list[LastingGroup], int]:
        """All groups: rows with numbers, the same as numbers, and how many ids were given."""
        images = self._tables[0]
        matches = self._of_touched(self.matches)
        options, histories = self._options, self._named_histories
        members = group_copies(images, matches, options, histories) if len(images) else []
        found = [list(rows) for _, rows in groupby(members, key=attrgetter("group_id"))]
        numbers = {file.image_id: file.number for file in self._regrouped}
        touched = _lasting(self.old_rows, set(self.kept_rows["number"].to_pylist()))
        groups, lasting, given = with_lasting_ids(
            found, numbers, touched, self.generation.group_ids
        )
        fresh = _rows(groups, images, numbers)
        rows = pa.concat_tables([self.kept_rows, fresh])
        order = [("group_id", "ascending"), ("keep", "descending"), ("image_id", "ascending")]
        return rows.sort_by(order), [*_lasting(self.kept_rows, set()), *lasting], given

    def events(self, after: Sequence[LastingGroup]) -> list[Event]:
        """What happened to groups."""
        names = {number: file.image_id for number, file in self.files.items()}
        return group_events(_lasting(self.old_rows, set()), after, names)


def _edges(matches: pa.Table) -> Ints:
    copies = matches.filter(matches["is_copy"])
    return np.stack([numbers_of(copies[name]) for name in ("query_id", "reference_id")], axis=1)


def _said(matches: pa.Table) -> pa.Array:
    """One text for all that a verdict says that groups are made of."""
    columns = [pc.cast(matches[name], pa.string()) for name in _CHANGED]
    keys = pa.chunked_array([pair_keys(matches)])
    joined = pc.binary_join_element_wise(keys, *columns, " ")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _lasting(rows: pa.Table, but: set[int]) -> list[LastingGroup]:
    """Rows of groups as numbers, without groups of these numbers."""
    members: dict[str, list[int]] = {}
    kept: dict[str, int] = {}
    for group_id, number, keep in zip(
        *(rows[name].to_pylist() for name in ("group_id", "number", "keep")), strict=True
    ):
        if number not in but:
            members.setdefault(group_id, []).append(number)
            if keep:
                kept[group_id] = number
    return [LastingGroup(one, frozenset(own), kept[one]) for one, own in members.items()]


def _rows(
    groups: Sequence[Sequence[GroupMember]], images: pa.Table, numbers: Mapping[str, int]
) -> pa.Table:
    table = groups_table([member for group in groups for member in group], images)
    own = [numbers[image_id] for image_id in table["image_id"].to_pylist()]
    return table.append_column(_NUMBER, pa.array(own, pa.int64())).cast(_GROUPS)
