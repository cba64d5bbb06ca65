"""The summary of a finished run: its figures, and the few lines that a command prints at its
end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs
from copydetect.runs import Manifest, RoleInput
from copydetect.self_check import SelfCheck
from copydetect.storage.files import Storage
from copydetect.types import Role

_Rows = Callable[[str, list[str]], Iterable[pa.Table]]
_FAILURES_SHOWN = 3
_KINDS_SHOWN = 5

PLURAL: dict[Role, str] = {"image": "images", "query": "queries", "reference": "references"}


@dataclass(frozen=True)
class Summary:
    """A run in figures; `str` gives the lines for a person, `as_dict` the values for a program.

    images: how many were read or tried; seconds: that the stages took; made_before: whether the run
    was finished already, and nothing was done again; failed: how many images could not be used;
    first_failures: up to three of them, image_id and reason; inputs: what was read, by role.

    Of `dedup`, else None: groups; copies: images of groups that are not kept; removable: those of
    them that are suggested for removal, and their bytes. Of `match`, else None: copied_queries;
    pairs. check: the precision and recall that the run measured on itself, None where it did not.
    tables: folder of the tables; report: the page to look at.
    """

    command: str
    images: int
    seconds: float
    made_before: bool
    failed: int
    first_failures: tuple[tuple[str, str], ...]
    inputs: Mapping[Role, RoleInput]
    groups: int | None
    copies: int | None
    removable: int | None
    removable_bytes: int | None
    copied_queries: int | None
    pairs: int | None
    check: SelfCheck | None
    tables: str
    report: str | None

    def as_dict(self) -> dict[str, Any]:
        """JSON values, by the names of the fields."""
        return asdict(self)

    def __str__(self) -> str:
        took = "as in the run before" if self.made_before else f"in {duration(self.seconds)}"
        lines = [f"{counted(self.images, 'image')} {took}", self._found(), *self._failures()]
        lines += notes_on_inputs(self.inputs)
        lines += self.check.sentences() if self.check else []
        lines.append(f"tables  {self.tables}")
        if self.report:
            lines.append(f"look at {self.report}")
        return "\n".join(lines)

    def _found(self) -> str:
        if self.command == "match":
            count = self.copied_queries or 0
            found = "1 query is a copy" if count == 1 else f"{count:,} queries are copies"
            return f"{found} of references, {counted(self.pairs or 0, 'pair')}"
        if not self.groups:
            return "no copies were found"
        count, going = self.copies or 0, self.removable or 0
        subject = "1 is a copy" if count == 1 else f"{count:,} are copies"
        said = f"{subject} of {counted(self.groups, 'other')}"
        if not going:
            return f"{said}, none of which is suggested for removal"
        size = readable_bytes(self.removable_bytes or 0)
        return f"{said}; {going:,} of them could go, {size}"

    def _failures(self) -> list[str]:
        if not self.failed:
            return []
        lines = [f"{counted(self.failed, 'image')} could not be used:"]
        lines += [f"  {image_id}: {reason}" for image_id, reason in self.first_failures]
        more = self.failed - len(self.first_failures)
        return [*lines, f"  and {more:,} more, see the failures table"] if more > 0 else lines


def summary_of(
    storage: Storage, output: str, manifest: Manifest, report: str | None, made_before: bool
) -> Summary:
    """Read what a summary needs from the tables of a finished run, some rows at a time; RunError
    where they are not."""
    tables = partial(manifest.batches, storage, output)
    images = sum(map(len, tables("images", ["status"])))
    first: list[dict[str, str]] = []
    failed = 0
    for rows in tables("failures", ["image_id", "message"]):
        first += rows.slice(0, max(0, _FAILURES_SHOWN - failed)).to_pylist()
        failed += len(rows)
    by_role = [one.failed for one in manifest.inputs.values()]
    of_pile = _groups(manifest, tables) if manifest.tables.get("groups") else None
    of_queries = None if of_pile else _pairs(tables)
    groups, spare, removable, removable_bytes = of_pile or (None, None, None, None)
    copied_queries, pairs = of_queries or (None, None)
    return Summary(
        command=manifest.command,
        images=images,
        seconds=sum(manifest.seconds.values()),
        made_before=made_before,
        failed=sum(by_role) if by_role else failed,
        first_failures=tuple((row["image_id"], row["message"]) for row in first),
        inputs=manifest.inputs,
        groups=groups,
        copies=spare,
        removable=removable,
        removable_bytes=removable_bytes,
        copied_queries=copied_queries,
        pairs=pairs,
        check=manifest.check,
        tables=runs.join(output, manifest.folder),
        report=report,
    )


def _groups(manifest: Manifest, tables: _Rows) -> tuple[int, int, int, int]:
    """Groups, images in them that are not kept, those suggested for removal, and their bytes."""
    members = suggested = kept = 0
    for rows in tables("groups", ["keep", "suggested"]):
        members += len(rows)
        kept += pc.sum(rows["keep"]).as_py() or 0
        suggested += pc.sum(rows["suggested"]).as_py() or 0
    return kept, members - kept, suggested, manifest.removable_bytes


def removable_bytes(groups: pa.Table, images: pa.Table) -> int:
    """Bytes of the images that are suggested for removal. groups, images: rows of these tables."""
    going = groups.filter(groups["suggested"])["image_id"].combine_chunks()
    return pc.sum(images.filter(pc.is_in(images["image_id"], going))["bytes"]).as_py() or 0


def _pairs(tables: _Rows) -> tuple[int, int]:
    """Queries that are copies, and pairs."""
    pairs, queries = 0, 0
    last = None
    for rows in tables("matches", ["query_id", "is_copy"]):
        copies = rows.filter(rows["is_copy"])["query_id"]
        pairs += len(copies)
        if len(copies):
            queries += pc.count_distinct(copies).as_py() - (copies[0].as_py() == last)
            last = copies[-1].as_py()
    return queries, pairs


def notes_on_inputs(inputs: Mapping[Role, RoleInput]) -> list[str]:
    """Sentences on files of the inputs that were skipped, excluded or renamed; often none."""
    return [
        note
        for role, one in inputs.items()
        for note in _notes_on_input(one, PLURAL[role] if len(inputs) > 1 else "")
    ]


def _notes_on_input(one: RoleInput, role: str) -> list[str]:
    head = f"{role}: " if role else ""
    lines = []
    if one.skipped:
        kinds = sorted(one.skipped.items(), key=lambda item: (-item[1], item[0]))
        shown = [f"{count:,} {kind or 'without extension'}" for kind, count in kinds]
        more = len(shown) - _KINDS_SHOWN
        shown = shown[:_KINDS_SHOWN] + ([f"{more} more kinds"] if more > 0 else [])
        lines.append(f"{head}passed over: {', '.join(shown)}")
    if one.excluded:
        lines.append(f"{head}{counted(one.excluded, 'file')} left out, as excluded")
    if one.renamed:
        lines.append(
            f"{head}{counted(one.renamed, 'image')} had the image_id of another one; each now "
            f"starts with its shard or folder, as in {one.renamed_example}"
        )
    return lines


def readable_bytes(count: int) -> str:
    """ "812 B", "3.4 MB": powers of 1,000."""
    power = 0 if count < 1000 else min(5, int(math.log10(count) / 3))
    value = count / 1000**power
    unit = ("B", "kB", "MB", "GB", "TB", "PB")[power]
    return f"{value:.0f} {unit}" if power == 0 or value >= 99.95 else f"{value:.1f} {unit}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
