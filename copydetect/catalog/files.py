"""The files of a catalogue: which images it knows, where they are, and what a night changes.

Inside a catalogue an image is its number, from 0 on, which is never given to another one; in the
tables of its stages, the number as text with zeros in front. What people call it, the image_id, is
unique among living images. A file with other content at the same place is a changed image; one with
the image_id of another file at another place gets its folder's name in front.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, count
from operator import attrgetter
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import tables
from copydetect.inputs.listing import ListedImage
from copydetect.storage.files import Storage

FILES = pa.schema(
    [
        pa.field("number", pa.int64(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("listed_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("member", pa.string(), nullable=False),
        pa.field("stamp", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("content", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("added", pa.int64(), nullable=False),
        pa.field("removed", pa.int64(), nullable=False),
    ]
)
"""One row per number of a part, in their order; fields as in `CatalogFile`."""

_SETTLED_SECONDS = 2.0

FileStatus = Literal["ok", "failed", "again", "removed", "forgotten", "unused"]


@dataclass(frozen=True)
class CatalogFile:
    """One image of a catalogue.

    image_id: what it is called; listed_id: what its input called it; stamp: size and time of the
    file when it was read, "" where they are not known; bytes: its size; content: number of the
    image that was described for all with the same bytes; status: ok; failed: for good; again:
    failed, to be tried again; removed: on request, or because its content changed; forgotten:
    removed with all that was known of it; unused: a number that no image has. added, removed: the
    generations, 0 for never.
    """

    number: int
    image_id: str
    listed_id: str
    uri: str
    member: str
    stamp: str
    sha256: str
    bytes: int
    content: int
    status: FileStatus
    added: int
    removed: int = 0

    @property
    def place(self) -> tuple[str, str]:
        """What identifies a listed image: its file, and its name in a container."""
        return self.uri, self.listed_id if self.member else ""


def forgotten(file: CatalogFile) -> CatalogFile:
    """A number whose image has been forgotten."""
    return CatalogFile(
        file.number, "", "", "", "", "", "", 0, -1, "forgotten", file.added, file.removed
    )


def key_of(number: int) -> str:
    """How the tables of a catalogue's stages name an image."""
    return f"{number:012d}"


def stamps_of(
    storage: Storage, roots: Mapping[str, Sequence[str]], now: float | None = None
) -> dict[str, str]:
    """Size and time of change of every file; "" where they are not known.

    roots: folder or bucket → the files below it. What is elsewhere is listed once for each root, as
    object stores tell both in their listings. A file that has changed within the last seconds has
    no stamp: it might change once more within that second. now: seconds since 1970.
    """
    before = (time.time() if now is None else now) - _SETTLED_SECONDS
    stamps: dict[str, str] = {}
    for root, uris in roots.items():
        if "://" not in root:
            stamps.update((uri, _stamp_of(uri)) for uri in uris)
            continue
        known = {
            file.uri: f"{file.size_bytes}:{file.changed!r}"
            for file in storage.files_under(root)
            if 0 < file.changed < before
        }
        stamps.update((uri, known.get(uri, "")) for uri in uris)
    return stamps


def _stamp_of(uri: str) -> str:
    try:
        status = os.stat(uri)
    except (OSError, ValueError):
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


def standing_files(files: Iterable[CatalogFile]) -> dict[int, CatalogFile]:
    """The file that stands for each content: the living one of the lowest number."""
    living = [file for file in files if file.status == "ok"]
    standing: dict[int, CatalogFile] = {}
    for file in sorted(living, key=attrgetter("number")):
        standing.setdefault(file.content, file)
    return standing


class Ledger:
    """All files of a catalogue, by number, by name and by place."""

    def __init__(self, files: Iterable[CatalogFile]) -> None:
        self.files = {file.number: file for file in files}
        living = [file for file in self.files.values() if file.status == "ok"]
        self.by_id = {file.image_id: file for file in living}
        self.by_place = {
            file.place: file for file in self.files.values() if file.status != "forgotten"
        }
        self.by_place |= {file.place: file for file in living}
        self._stamps: dict[str, set[str]] = {}
        for file in self.by_place.values():
            if file.member:
                stamp = "" if file.status == "again" else file.stamp
                self._stamps.setdefault(file.uri, set()).add(stamp)
        self.unusable = {file.sha256 for file in self.files.values() if file.status == "failed"}

    @classmethod
    def of(cls, table: pa.Table) -> Ledger:
        """From rows of `FILES`."""
        return cls(CatalogFile(**row) for row in table.to_pylist())

    def living(self) -> list[CatalogFile]:
        """The images that are there, by number."""
        return sorted(self.by_id.values(), key=attrgetter("number"))

    def names(self) -> dict[int, CatalogFile]:
        """As `standing_files`."""
        return standing_files(self.by_id.values())

    def is_known(self, uri: str, stamp: str) -> bool:
        """Whether a file need not be read again: its size and time of change are the same.

        Of a container, all images that were found in it must have come from it as it is.
        """
        file = self.by_place.get((uri, ""))
        if file is None:
            return bool(stamp) and self._stamps.get(uri) == {stamp}
        return bool(stamp) and file.status != "again" and file.stamp == stamp


class StandingFiles:
    """The same as `Ledger.names`; names are read, and files made, only where one is wanted."""

    def __init__(self, read: Callable[[list[str] | None], pa.Table]) -> None:
        """read: reads some columns of the rows of `FILES`, or all."""
        table = read(["status", "content", "number"])
        rows = np.flatnonzero(pc.equal(table["status"], "ok").to_numpy())
        contents, numbers = (table[name].to_numpy()[rows] for name in ("content", "number"))
        order = np.lexsort((numbers, contents))
        self.contents, first = np.unique(contents[order], return_index=True)
        self._rows, self._read = rows[order[first]], read

    def __len__(self) -> int:
        return len(self.contents)

    def of(self, content: int) -> CatalogFile:
        """The file that stands for a content that is there."""
        row = int(self._rows[np.searchsorted(self.contents, content)])
        (values,) = self._all.slice(row, 1).to_pylist()
        return CatalogFile(**values)

    @cached_property
    def _all(self) -> pa.Table:
        return self._read(None)


@dataclass(frozen=True)
class NightPlan:
    """The changes that a night makes to the files of a catalogue.

    new: images to describe, sorted by content, with their numbers; twins: images whose content is
    known already; failed: what could not be read; removed: numbers; moved: old files with their new
    places; stamped: old files that were written again and hold what they held. changed: number of
    the old file → number of the new one.
    """

    new: list[CatalogFile] = field(default_factory=list)
    twins: list[CatalogFile] = field(default_factory=list)
    failed: list[tuple[CatalogFile, ListedImage]] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    moved: list[CatalogFile] = field(default_factory=list)
    stamped: list[CatalogFile] = field(default_factory=list)
    changed: dict[int, int] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    known: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.new or self.twins or self.removed or self.replaced or self.failed)

    @property
    def replaced(self) -> list[CatalogFile]:
        """Old files of which something else than their content has changed."""
        return [*self.moved, *self.stamped]

    @property
    def added(self) -> list[CatalogFile]:
        """Every file that gets a number."""
        return [*self.new, *self.twins, *(file for file, _ in self.failed)]

    def digest(self) -> str:
        """Identifies a night, so that the same one, run again, is recognised."""
        text = hashlib.sha256()
        for file in [*self.added, *self.replaced]:
            text.update(repr((file.number, file.image_id, file.uri, file.sha256)).encode())
        text.update(repr(sorted(self.removed)).encode())
        return text.hexdigest()


def plan_night(
    ledger: Ledger,
    listed: Sequence[ListedImage],
    stamps: Mapping[str, str],
    removals: Sequence[str],
    start: int,
    generation: int,
) -> NightPlan:
    """Compare a listing with the ledger: which files are new, changed, moved or gone.

    listed: images that were read, the failed ones too; stamps: of their files, taken before; start:
    first number that is free.
    """
    plan, taken = NightPlan(), {*ledger.by_id}
    asked = dict.fromkeys(removals)
    plan.unknown.extend(one for one in asked if one not in ledger.by_id)
    plan.removed.extend(ledger.by_id[one].number for one in asked if one in ledger.by_id)
    fresh: list[tuple[CatalogFile, int]] = []
    errors: list[tuple[CatalogFile, ListedImage]] = []
    going, known = set(plan.removed), 0
    for image in sorted(listed, key=lambda image: (image.sha256, image.image_id, image.uri)):
        file = _file_of(image, stamps, generation)
        before = ledger.by_place.get(file.place)
        if image.error_type:
            errors.append((file, image))
        elif file.sha256 in ledger.unusable or _is_same(before, file):
            known += 1
            if before and before.status == "ok" and before.stamp != file.stamp:
                plan.stamped.append(_moved(before, file))
        elif before and before.status == "ok" and before.number not in going:
            plan.removed.append(before.number)
            fresh.append((replace(file, image_id=before.image_id), before.number))
        elif _same_image(ledger, file, going):
            plan.moved.append(_moved(ledger.by_id[file.image_id], file))
        else:
            name = _free(file, taken)
            if name != file.image_id:
                plan.renamed[file.image_id] = name
            taken.add(name)
            fresh.append((replace(file, image_id=name), -1))
    _number(plan, ledger, fresh, errors, start)
    return replace(plan, known=known)


def _is_same(before: CatalogFile | None, file: CatalogFile) -> bool:
    """Whether what was read is what was read at that place before."""
    return before is not None and before.sha256 == file.sha256 and before.status != "again"


def _moved(before: CatalogFile, file: CatalogFile) -> CatalogFile:
    return replace(
        before, uri=file.uri, member=file.member, stamp=file.stamp, listed_id=file.listed_id
    )


def _same_image(ledger: Ledger, file: CatalogFile, going: set[int]) -> bool:
    """Whether an image of this name and content is there already, at another place."""
    there = ledger.by_id.get(file.image_id)
    return there is not None and there.sha256 == file.sha256 and there.number not in going


def _file_of(image: ListedImage, stamps: Mapping[str, str], generation: int) -> CatalogFile:
    stamp = stamps.get(image.uri, "")
    return CatalogFile(
        number=-1,
        image_id=image.image_id,
        listed_id=image.image_id,
        uri=image.uri,
        member=image.member,
        stamp=stamp,
        sha256=image.sha256,
        bytes=image.bytes,
        content=-1,
        status="ok",
        added=generation,
    )


def _free(file: CatalogFile, taken: set[str]) -> str:
    """The image_id, with as many folders in front as make it unique."""
    if file.image_id not in taken:
        return file.image_id
    path = file.uri.removesuffix(file.image_id).rstrip("/")
    folders = [part for part in path.split("/") if part and not part.endswith(":")]
    longer = ("/".join([*folders[-depth:], file.image_id]) for depth in range(1, len(folders) + 1))
    stem, extension = posixpath.splitext(file.image_id)
    numbered = (f"{stem}#{number}{extension}" for number in count(2))
    return next(name for name in chain(longer, numbered) if name not in taken)


def _number(
    plan: NightPlan,
    ledger: Ledger,
    fresh: list[tuple[CatalogFile, int]],
    errors: list[tuple[CatalogFile, ListedImage]],
    start: int,
) -> None:
    """Give numbers: first to what is described, by content; then to what is known, or failed."""
    going = set(plan.removed)
    staying = {file.sha256: file.content for file in ledger.living() if file.number not in going}
    numbers = count(start)
    unseen = [one for one in fresh if one[0].sha256 not in staying]
    seen = [one for one in fresh if one[0].sha256 in staying]
    for file, before in unseen:
        plan.new.append(replace(file, number=next(numbers)))
        if before >= 0:
            plan.changed[before] = plan.new[-1].number
    for file, before in seen:
        content = staying[file.sha256]
        plan.twins.append(replace(file, number=next(numbers), content=content))
        if before >= 0:
            plan.changed[before] = plan.twins[-1].number
    for file, image in errors:
        if ledger.by_place.get(file.place) is None:
            status: FileStatus = "again" if image.retryable else "failed"
            failed = replace(file, number=next(numbers), status=status, content=-1)
            plan.failed.append((failed, image))


def files_table(files: Iterable[CatalogFile]) -> pa.Table:
    """Rows of `FILES`."""
    return tables.rows_to_table(files, FILES)
