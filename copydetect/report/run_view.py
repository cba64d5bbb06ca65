"""Tables of a run → the content of its pages: groups with members, near misses, failures,
totals."""

from __future__ import annotations

import io
import math
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from copydetect import tables
from copydetect.report.evidence import PairEvidence, pair_evidence
from copydetect.summary import readable_bytes
from copydetect.types import ImageRef, Match, Pixels, Role

Thumbnails = Callable[[Sequence[ImageRef]], Iterable[bytes | None]]
"""Images → a small JPEG, PNG or WebP of each, upright; None where there is none."""

Rows = Callable[[list[str]], Iterable[pa.Table]]
"""Columns → the rows of a table with these, some at a time, in their order."""

_NEAR_MISSES = 24
_NEAREST = 20 * _NEAR_MISSES
_SUREST = [
    ("confidence", "descending"),
    ("query_id", "ascending"),
    ("reference_id", "ascending"),
]
_MEMBER = ["group_id", "image_id", "keep", "suggested", "reason"]
_FACTS = [
    *("image_id", "role", "uri", "member"),
    *("width", "height", "bytes", "format", "companions"),
]
_MEMBERS_SHOWN = 60
_HIDDEN = (*range(32), *range(127, 160), 0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F))
_ISOLATES = (*range(0x2060, 0x206A), 0xFEFF)
_SPELLED_OUT = {code: f"⟨U+{code:04X}⟩" for code in (*_HIDDEN, *_ISOLATES)}


@dataclass(frozen=True)
class RunTables:
    """The tables that the pages are made of; schemas as in `tables`, groups may be empty.

    removable_bytes: of all images that are suggested for removal.
    """

    images: Rows
    matches: Rows
    groups: Rows
    failures: Rows
    removable_bytes: int = 0


@dataclass(frozen=True)
class ImageFacts:
    """One image, in words; ref: where it is; beside: names of the files that belong to it."""

    ref: ImageRef
    image_id: str
    role: str
    width: int
    height: int
    size_bytes: int
    format: str
    beside: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """ "4000 × 3000 px · JPEG · 2.1 MB · with IMG_1.MOV" """
        size = readable_bytes(self.size_bytes)
        shown = f"{self.width} × {self.height} px · {self.format} · {size}"
        return f"{shown} · with {', '.join(self.beside)}" if self.beside else shown


@dataclass(frozen=True)
class Member:
    """An image of a group, with the match that it hangs on; none for the kept and for repeats."""

    facts: ImageFacts
    keep: bool
    suggested: bool
    reason: str
    match: Match | None


@dataclass(frozen=True)
class Group:
    """Images that are copies: the kept one first. `unseen` are further ones, by name only."""

    number: int
    members: list[Member]
    unseen: list[str]
    saved_bytes: int

    @property
    def size(self) -> int:
        """How many images it has."""
        return len(self.members) + len(self.unseen)


def thumbnail_jpeg(pixels: Pixels, quality: int = 74) -> bytes:
    """A thumbnail as the pages embed it."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, optimize=True)
    return stream.getvalue()


def visible(text: str) -> str:
    """`text` with control and direction characters spelled out, so that a name shows itself."""
    shown = text.translate(_SPELLED_OUT)
    return shown.encode("utf-8", "replace").decode("utf-8")


class RunView:
    """Looks up what the pages show in the tables of one run, which are read some rows at a time.

    Only rows of the `most_groups` largest groups and of the near misses are held, and for each
    group its size.
    """

    def __init__(self, run: RunTables, most_groups: int = 1_000) -> None:
        self._run = run
        self._most = most_groups
        self.images = self.repeats = self.accepted = self.members = self.suggested = 0
        self.one_pile = True
        self._count_images()
        self.roles: tuple[Role, Role] = (
            ("image", "image") if self.one_pile else ("query", "reference")
        )
        nearest = self._read_pairs()
        self._rows = self._rows_shown()
        self._near, self._matches = self._pairs_shown(nearest)
        self._facts = self._facts_shown()

    def groups(self) -> Iterator[Group]:
        """The groups, those with most members first; for `match` a query with what it copies."""
        draw = self._group if self.one_pile else self._matched_query
        for number, name in enumerate(self._names.to_pylist(), start=1):
            yield draw(number, self._rows[name])

    def near_misses(self) -> list[PairEvidence]:
        """The refused pairs that were closest to being accepted, best first.

        Pairs of one group are left out: those images are known to be copies.
        """
        return [self.evidence(match) for match in self._near]

    def evidence(self, match: Match) -> PairEvidence:
        """The drawing of a match that is shown."""
        a, b = self._ends(match)
        return pair_evidence(match, (a.width, a.height), (b.width, b.height), self.roles)

    def shown(self, groups: Iterable[Group], near: Iterable[PairEvidence] = ()) -> list[ImageRef]:
        """The images that groups and near misses show, each once."""
        members = [member for group in groups for member in group.members]
        matches = [member.match for member in members if member.match]
        ends = map(self._ends, (*matches, *(pair.match for pair in near)))
        facts = chain((member.facts for member in members), *ends)
        return list(dict.fromkeys(image.ref for image in facts))

    def _count_images(self) -> None:
        for part in self._run.images(["role", "duplicate_of"]):
            self.images += len(part)
            self.repeats += len(part) - part["duplicate_of"].null_count
            self.one_pile = self.one_pile and not pc.any(pc.equal(part["role"], "query")).as_py()

    def _read_pairs(self) -> pa.Table | None:
        """Count pairs and groups; the refused pairs that were closest to being accepted."""
        nearest, sizes = None, _Sizes("group_id" if self.one_pile else "query_id")
        for rows in self._run.matches(["query_id", "reference_id", "confidence", "is_copy"]):
            self.accepted += pc.sum(rows["is_copy"]).as_py() or 0
            refused = rows.filter(pc.invert(rows["is_copy"])).sort_by(_SUREST)
            best = [refused.slice(0, _NEAREST), *([nearest] if nearest is not None else [])]
            nearest = pa.concat_tables(best).sort_by(_SUREST).slice(0, _NEAREST)
            if not self.one_pile:
                sizes.add(rows.filter(rows["is_copy"]))
        for rows in self._run.groups(["group_id", "suggested"]):
            self.members += len(rows)
            self.suggested += pc.sum(rows["suggested"]).as_py() or 0
            if self.one_pile:
                sizes.add(rows)
        self.group_count, self._names = sizes.largest(self._most)
        return nearest

    def _rows_shown(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of the groups that are shown, or accepted pairs of the queries, by name."""
        if self.one_pile:
            wanted = (_among(rows, "group_id", self._names) for rows in self._run.groups(_MEMBER))
            return _rows_by(wanted, "group_id")
        pairs = self._run.matches(["query_id", "reference_id", "confidence", "is_copy"])
        accepted = (_among(rows.filter(rows["is_copy"]), "query_id", self._names) for rows in pairs)
        return _rows_by(accepted, "query_id")

    def _pairs_shown(
        self, nearest: pa.Table | None
    ) -> tuple[list[Match], dict[tuple[str, str], Match]]:
        """The near misses, best first, and the accepted pairs of images that are shown."""
        near = self._apart(nearest)
        close = {pair: place for place, pair in enumerate(near)}
        ids = pa.array(sorted({str(row["image_id"]) for row in self._members()}), pa.string())
        missed: dict[int, Match] = {}
        shown: dict[tuple[str, str], Match] = {}
        queries = pa.array(sorted({query for query, _ in near}), pa.string())
        for rows in self._run.matches(tables.MATCHES.names):
            refused = _among(rows.filter(pc.invert(rows["is_copy"])), "query_id", queries)
            for row in refused.to_pylist():
                place = close.get((row["query_id"], row["reference_id"]))
                if place is not None:
                    missed[place] = _match(row)
            accepted = rows.filter(rows["is_copy"])
            if self.one_pile:
                accepted = _among(_among(accepted, "query_id", ids), "reference_id", ids)
            else:
                accepted = _among(accepted, "query_id", self._names)
            found = map(_match, accepted.to_pylist())
            shown |= {(match.query_id, match.reference_id): match for match in found}
        return [missed[place] for place in sorted(missed)], shown

    def _apart(self, nearest: pa.Table | None) -> list[tuple[str, str]]:
        """Pairs whose images are not in one group, as many as are shown."""
        if nearest is None:
            return []
        ends = (nearest["query_id"], nearest["reference_id"])
        ids = pa.chunked_array([chunk for end in ends for chunk in end.chunks], pa.string())
        group_of: dict[str, str] = {}
        for rows in self._run.groups(["image_id", "group_id"]):
            members = _among(rows, "image_id", ids).to_pylist()
            group_of |= {row["image_id"]: row["group_id"] for row in members}
        pairs = zip(*(end.to_pylist() for end in ends), strict=True)
        return [
            (query, reference)
            for query, reference in pairs
            if query not in group_of or group_of[query] != group_of.get(reference)
        ][:_NEAR_MISSES]

    def _facts_shown(self) -> dict[tuple[str, str], ImageFacts]:
        ids = {str(row["image_id"]) for row in self._members()}
        for match in (*self._near, *self._matches.values()):
            ids |= {match.query_id, match.reference_id}
        wanted = pa.array(sorted(ids), pa.string())
        parts = (_among(part, "image_id", wanted) for part in self._run.images(_FACTS))
        rows = (row for part in parts for row in part.to_pylist())
        return {
            (row["role"], row["image_id"]): ImageFacts(
                ImageRef(row["image_id"], row["uri"], row["member"], row["role"]),
                row["image_id"],
                row["role"],
                row["width"] or 0,
                row["height"] or 0,
                row["bytes"] or 0,
                row["format"] or "unknown format",
                tuple(map(posixpath.basename, row["companions"] or ())),
            )
            for row in rows
        }

    def _members(self) -> Iterator[dict[str, Any]]:
        if self.one_pile:
            for rows in self._rows.values():
                yield from rows

    def _group(self, number: int, rows: list[dict[str, Any]]) -> Group:
        rows = sorted(rows, key=lambda row: (not row["keep"], row["image_id"]))
        ids = [row["image_id"] for row in rows]
        members = []
        for row in rows[:_MEMBERS_SHOWN]:
            match = None if row["keep"] else self._best_pair(row["image_id"], ids)
            facts = self._facts["image", row["image_id"]]
            members.append(Member(facts, row["keep"], row["suggested"], row["reason"], match))
        going = [row for row in rows if row["suggested"]]
        saved = sum(self._facts["image", row["image_id"]].size_bytes for row in going)
        return Group(number, members, ids[_MEMBERS_SHOWN:], saved)

    def _matched_query(self, number: int, rows: list[dict[str, Any]]) -> Group:
        query_id = rows[0]["query_id"]
        members = [Member(self._facts["query", query_id], True, False, "the query", None)]
        rows = sorted(rows, key=lambda row: (-row["confidence"], row["reference_id"]))
        for row in rows[:_MEMBERS_SHOWN]:
            match = self._matches[query_id, row["reference_id"]]
            facts = self._facts["reference", match.reference_id]
            members.append(Member(facts, False, False, match.reason, match))
        unseen = [row["reference_id"] for row in rows[_MEMBERS_SHOWN:]]
        return Group(number, members, unseen, 0)

    def _best_pair(self, image_id: str, others: list[str]) -> Match | None:
        """The accepted match with the kept image (the first), else the surest one in the group."""
        best: Match | None = None
        for other in others:
            for pair in ((image_id, other), (other, image_id)):
                match = self._matches.get(pair)
                if match is not None and (best is None or match.confidence > best.confidence):
                    best = match
            if best is not None and other == others[0]:
                break
        return best

    def _ends(self, match: Match) -> tuple[ImageFacts, ImageFacts]:
        query, reference = self.roles
        return self._facts[query, match.query_id], self._facts[reference, match.reference_id]


def _match(row: dict[str, Any]) -> Match:
    similarity = math.nan if row["similarity"] is None else row["similarity"]
    return Match(**{**row, "similarity": similarity})


def _among(table: pa.Table, column: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return table.filter(pc.is_in(table[column], value_set=values))


def _rows_by(parts: Iterable[pa.Table], column: str) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        for row in part.to_pylist():
            rows.setdefault(row[column], []).append(row)
    return rows


class _Sizes:
    """How many rows there are of each value of a column: a name and a number each are held."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._counted: pa.Table | None = None

    def add(self, rows: pa.Table) -> None:
        """Count rows."""
        counted = rows.group_by(self._column).aggregate([([], "count_all")])
        if self._counted is not None:
            both = pa.concat_tables([self._counted, counted.select(self._counted.column_names)])
            sums = both.group_by(self._column).aggregate([("count_all", "sum")])
            counted = sums.rename_columns(
                ["count_all" if name == "count_all_sum" else name for name in sums.column_names]
            )
        self._counted = counted

    def largest(self, most: int) -> tuple[int, pa.ChunkedArray]:
        """How many values there are, and those with most rows, ties by name."""
        if self._counted is None:
            return 0, pa.chunked_array([], pa.string())
        order = [("count_all", "descending"), (self._column, "ascending")]
        return len(self._counted), self._counted.sort_by(order)[self._column].slice(0, most)
