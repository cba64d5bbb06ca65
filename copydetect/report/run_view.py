"""Tables of a run → what its pages show: groups with members, near misses, failures, totals."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from copydetect.report.evidence import PairEvidence, pair_evidence
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
    """One image, in words."""

    image_id: str
    role: str
    width: int
    height: int
    size_bytes: int
    format: str

    @property
    def summary(self) -> str:
        """ "4000 × 3000 px · JPEG · 2.1 MB" """
        return (
            f"{self.width} × {self.height} px · {self.format} · {readable_bytes(self.size_bytes)}"
        )


@dataclass(frozen=True)
class Member:
    """An image of a group, with the pair that it hangs on; none for the kept and for repeats."""

    facts: ImageFacts
    keep: bool
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


def readable_bytes(count: int) -> str:
    """ "812 B", "3.4 MB": powers of 1,000."""
    power = 0 if count < 1000 else min(5, int(math.log10(count) / 3))
    value = count / 1000**power
    unit = ("B", "kB", "MB", "GB", "TB", "PB")[power]
    return f"{value:.0f} {unit}" if power == 0 or value >= 99.95 else f"{value:.1f} {unit}"


def visible(text: str) -> str:
    """`text` with control and direction characters spelled out, so that a name shows itself."""
    shown = text.translate(_SPELLED_OUT)
    return shown.encode("utf-8", "replace").decode("utf-8")


class RunView:
    """Looks up what the pages show in the tables of one run."""

    def __init__(self, run: RunTables) -> None:
        self._run = run
        images = run.images
        ids, roles = images["image_id"].to_pylist(), images["role"].to_pylist()
        self._row_of_image = {key: row for row, key in enumerate(zip(roles, ids, strict=True))}
        self.one_pile = "query" not in set(roles)
        self.roles = ("image", "image") if self.one_pile else ("query", "reference")
        pairs = zip(
            *(run.matches[c].to_pylist() for c in ("query_id", "reference_id")), strict=True
        )
        self._row_of_pair = {pair: row for row, pair in enumerate(pairs)}

    def facts(self, image_id: str, role: str) -> ImageFacts:
        """What is known of an image."""
        row = self._run.images.slice(self._row_of_image[role, image_id], 1).to_pylist()[0]
        return ImageFacts(
            image_id,
            role,
            row["width"] or 0,
            row["height"] or 0,
            row["bytes"] or 0,
            row["format"] or "unknown format",
        )

    def saved_bytes(self) -> int:
        """Bytes of all images that are in a group and not kept."""
        groups = self._run.groups
        going = groups.filter(pc.invert(groups["keep"]))["image_id"]
        images = self._run.images
        rows = pc.is_in(images["image_id"], value_set=going.combine_chunks())
        return int(pc.sum(images.filter(rows)["bytes"]).as_py() or 0)

    def groups(self) -> Iterator[Group]:
        """The groups, those with most members first."""
        table = self._run.groups
        if self.one_pile:
            ids = table["group_id"].to_pylist()
            rows: dict[str, list[int]] = {}
            for row, group_id in enumerate(ids):
                rows.setdefault(group_id, []).append(row)
            ordered = sorted(rows.items(), key=lambda item: (-len(item[1]), item[0]))
            for number, (_, members) in enumerate(ordered, start=1):
                yield self._group(number, table.take(members).to_pylist())
            return
        yield from self._matched_queries()

    def near_misses(self) -> list[PairEvidence]:
        """The refused pairs that were closest to being accepted, best first.

        Pairs of one group are left out: those images are known to be copies.
        """
        table = self._run.matches
        groups = self._run.groups
        members = zip(*(groups[c].to_pylist() for c in ("image_id", "group_id")), strict=True)
        group_of = dict(members)
        confidences = table["confidence"].to_numpy()
        refused = np.flatnonzero(~table["is_copy"].to_numpy(zero_copy_only=False).astype(bool))
        found: list[PairEvidence] = []
        for row in refused[np.argsort(-confidences[refused], kind="stable")].tolist():
            match = self._match(row)
            group = group_of.get(match.query_id)
            if group is None or group != group_of.get(match.reference_id):
                found.append(self._evidence(match))
            if len(found) == _NEAR_MISSES:
                break
        return found

    def _group(self, number: int, rows: list[dict[str, object]]) -> Group:
        rows = sorted(rows, key=lambda row: (not row["keep"], str(row["image_id"])))
        ids = [str(row["image_id"]) for row in rows]
        members = []
        for row, image_id in list(zip(rows, ids, strict=True))[:_MEMBERS_SHOWN]:
            evidence = None if row["keep"] else self._best_pair(image_id, ids)
            members.append(
                Member(
                    self.facts(image_id, "image"), bool(row["keep"]), str(row["reason"]), evidence
                )
            )
        saved = sum(
            self.facts(image_id, "image").size_bytes
            for row, image_id in zip(rows, ids, strict=True)
            if not row["keep"]
        )
        return Group(number, members, ids[_MEMBERS_SHOWN:], saved)

    def _matched_queries(self) -> Iterator[Group]:
        """For `match`: a query and the references that it is a copy of, as one group each."""
        table = self._run.matches
        rows: dict[str, list[int]] = {}
        confidences = table["confidence"].to_pylist()
        for row in np.flatnonzero(table["is_copy"].to_numpy(zero_copy_only=False)).tolist():
            rows.setdefault(table["query_id"][row].as_py(), []).append(row)
        for number, (query_id, found) in enumerate(sorted(rows.items()), start=1):
            members = [Member(self.facts(query_id, "query"), True, "the query", None)]
            for row in sorted(found, key=lambda row: -confidences[row])[:_MEMBERS_SHOWN]:
                match = self._match(row)
                facts = self.facts(match.reference_id, "reference")
                members.append(Member(facts, False, match.reason, self._evidence(match)))
            yield Group(number, members, [], 0)

    def _best_pair(self, image_id: str, others: list[str]) -> PairEvidence | None:
        """The accepted pair with the kept image (the first), else the surest one in the group."""
        best: Match | None = None
        for other in others:
            for pair in ((image_id, other), (other, image_id)):
                row = self._row_of_pair.get(pair)
                match = None if row is None else self._match(row)
                if match is None or not match.is_copy:
                    continue
                if best is None or match.confidence > best.confidence:
                    best = match
            if best is not None and other == others[0]:
                break
        return None if best is None else self._evidence(best)

    def _match(self, row: int) -> Match:
        fields = self._run.matches.slice(row, 1).to_pylist()[0]
        return Match(**{**fields, "similarity": fields["similarity"] or math.nan})

    def _evidence(self, match: Match) -> PairEvidence:
        a = self.facts(match.query_id, self.roles[0])
        b = self.facts(match.reference_id, self.roles[1])
        return pair_evidence(match, (a.width, a.height), (b.width, b.height), self.roles)
