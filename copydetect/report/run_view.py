"""Tables of a run → the content of its pages: groups with members, near misses, failures,
totals."""

from __future__ import annotations

import io
import math
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from copydetect.report.evidence import PairEvidence, pair_evidence
from copydetect.summary import readable_bytes
from copydetect.types import Match, Pixels

Thumbnails = Callable[[str, str], bytes | None]
"""(image_id, role) → a small JPEG, PNG or WebP of the upright image; None where there is none."""

_NEAR_MISSES = 24
_MEMBERS_SHOWN = 60
_HIDDEN = (*range(32), *range(127, 160), 0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F))
_ISOLATES = (*range(0x2060, 0x206A), 0xFEFF)
_SPELLED_OUT = {code: f"⟨U+{code:04X}⟩" for code in (*_HIDDEN, *_ISOLATES)}


@dataclass(frozen=True)
class RunTables:
    """The tables that the pages are made of; schemas as in `tables`, groups may be empty."""

    images: pa.Table
    matches: pa.Table
    groups: pa.Table
    failures: pa.Table


@dataclass(frozen=True)
class ImageFacts:
    """One image, in words; beside: names of the files that belong to it."""

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
    """An image of a group, with the pair that it hangs on; none for the kept and for repeats."""

    facts: ImageFacts
    keep: bool
    suggested: bool
    reason: str
    evidence: PairEvidence | None


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
    """Looks up what the pages show in the tables of one run.

    Only rows of the `most_groups` largest groups and of the near misses are turned into Python
    values; totals are computed on the tables as they are.
    """

    def __init__(self, run: RunTables, most_groups: int = 1_000) -> None:
        self._run = run
        self.one_pile = not pc.any(pc.equal(run.images["role"], "query")).as_py()
        self.roles = ("image", "image") if self.one_pile else ("query", "reference")
        accepted = run.matches.filter(run.matches["is_copy"])
        grouped, by = (run.groups, "group_id") if self.one_pile else (accepted, "query_id")
        sizes = grouped.group_by(by).aggregate([([], "count_all")])
        largest = sizes.sort_by([("count_all", "descending"), (by, "ascending")])
        self.group_count = len(sizes)
        self._names = largest[by].slice(0, most_groups)
        self._rows = _rows_by(_among(grouped, by, self._names), by)
        self._near = self._nearest_refused()
        self._matches = self._matches_shown(accepted)
        self._facts = self._facts_shown()

    def facts(self, image_id: str, role: str) -> ImageFacts:
        """What is known of an image that is shown."""
        return self._facts[role, image_id]

    def saved_bytes(self) -> int:
        """Bytes of all images that are suggested for removal."""
        going = self._run.groups.filter(self._run.groups["suggested"])["image_id"]
        return int(pc.sum(_among(self._run.images, "image_id", going)["bytes"]).as_py() or 0)

    def suggested_count(self) -> int:
        """How many images are suggested for removal."""
        return int(pc.sum(self._run.groups["suggested"]).as_py() or 0)

    def groups(self) -> Iterator[Group]:
        """The groups, those with most members first; for `match` a query with what it copies."""
        draw = self._group if self.one_pile else self._matched_query
        for number, name in enumerate(self._names.to_pylist(), start=1):
            yield draw(number, self._rows[name])

    def near_misses(self) -> list[PairEvidence]:
        """The refused pairs that were closest to being accepted, best first.

        Pairs of one group are left out: those images are known to be copies.
        """
        return [self._evidence(match) for match in self._near]

    def _nearest_refused(self) -> list[Match]:
        refused = self._run.matches.filter(pc.invert(self._run.matches["is_copy"]))
        keys = [
            ("confidence", "descending"),
            ("query_id", "ascending"),
            ("reference_id", "ascending"),
        ]
        nearest = refused.sort_by(keys).slice(0, _NEAR_MISSES * 20)
        ids = pa.chunked_array([*nearest["query_id"].chunks, *nearest["reference_id"].chunks])
        members = _among(self._run.groups, "image_id", ids)
        pairs = zip(members["image_id"].to_pylist(), members["group_id"].to_pylist(), strict=True)
        group_of = dict(pairs)
        found = (_match(row) for row in nearest.to_pylist())
        return [
            match
            for match in found
            if match.query_id not in group_of
            or group_of[match.query_id] != group_of.get(match.reference_id)
        ][:_NEAR_MISSES]

    def _matches_shown(self, accepted: pa.Table) -> dict[tuple[str, str], Match]:
        ids = pa.array(sorted({str(r["image_id"]) for r in self._all_rows()}), pa.string())
        if self.one_pile:
            accepted = _among(_among(accepted, "query_id", ids), "reference_id", ids)
        else:
            accepted = _among(accepted, "query_id", self._names)
        found = (_match(row) for row in accepted.to_pylist())
        return {(match.query_id, match.reference_id): match for match in found}

    def _facts_shown(self) -> dict[tuple[str, str], ImageFacts]:
        ids = {str(row["image_id"]) for row in self._all_rows()}
        for match in (*self._near, *self._matches.values()):
            ids |= {match.query_id, match.reference_id}
        rows = _among(self._run.images, "image_id", pa.array(sorted(ids), pa.string())).to_pylist()
        return {
            (row["role"], row["image_id"]): ImageFacts(
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

    def _all_rows(self) -> Iterator[dict[str, Any]]:
        if self.one_pile:
            for rows in self._rows.values():
                yield from rows

    def _group(self, number: int, rows: list[dict[str, Any]]) -> Group:
        rows = sorted(rows, key=lambda row: (not row["keep"], row["image_id"]))
        ids = [row["image_id"] for row in rows]
        members = []
        for row in rows[:_MEMBERS_SHOWN]:
            evidence = None if row["keep"] else self._best_pair(row["image_id"], ids)
            facts = self.facts(row["image_id"], "image")
            members.append(Member(facts, row["keep"], row["suggested"], row["reason"], evidence))
        going = [row for row in rows if row["suggested"]]
        saved = sum(self.facts(row["image_id"], "image").size_bytes for row in going)
        return Group(number, members, ids[_MEMBERS_SHOWN:], saved)

    def _matched_query(self, number: int, rows: list[dict[str, Any]]) -> Group:
        query_id = rows[0]["query_id"]
        members = [Member(self.facts(query_id, "query"), True, False, "the query", None)]
        rows = sorted(rows, key=lambda row: (-row["confidence"], row["reference_id"]))
        for row in rows[:_MEMBERS_SHOWN]:
            match = self._matches[query_id, row["reference_id"]]
            facts = self.facts(match.reference_id, "reference")
            members.append(Member(facts, False, False, match.reason, self._evidence(match)))
        unseen = [row["reference_id"] for row in rows[_MEMBERS_SHOWN:]]
        return Group(number, members, unseen, 0)

    def _best_pair(self, image_id: str, others: list[str]) -> PairEvidence | None:
        """The accepted pair with the kept image (the first), else the surest one in the group."""
        best: Match | None = None
        for other in others:
            for pair in ((image_id, other), (other, image_id)):
                match = self._matches.get(pair)
                if match is not None and (best is None or match.confidence > best.confidence):
                    best = match
            if best is not None and other == others[0]:
                break
        return None if best is None else self._evidence(best)

    def _evidence(self, match: Match) -> PairEvidence:
        a = self.facts(match.query_id, self.roles[0])
        b = self.facts(match.reference_id, self.roles[1])
        return pair_evidence(match, (a.width, a.height), (b.width, b.height), self.roles)


def _match(row: dict[str, Any]) -> Match:
    similarity = math.nan if row["similarity"] is None else row["similarity"]
    return Match(**{**row, "similarity": similarity})


def _among(table: pa.Table, column: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return table.filter(pc.is_in(table[column], value_set=values))


def _rows_by(table: pa.Table, column: str) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row[column], []).append(row)
    return rows
