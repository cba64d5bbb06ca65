"""Listing files of all pieces of an input → what is known of them together.

    a file: its number, its rows and the hashes of their ids → ids that repeat are told apart
    → how many images there are, and a digest of what they hold

One worker does it, with 8 bytes an image: 3 GB for 10⁸ images. Whoever started the job reads the
result, which is small.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from copydetect import runs, tables
from copydetect.errors import InputError
from copydetect.inputs.listing import DIGESTED, RowSum
from copydetect.inputs.repeated_ids import Hashes, make_ids_unique
from copydetect.json_values import parse_as
from copydetect.parts import PartNames
from copydetect.storage.files import Storage
from copydetect.types import Role


@dataclass(frozen=True)
class ListedFile:
    """A listing file: its number and URI, the sum of its rows, and the hashes of their ids, as
    bytes."""

    number: int
    uri: str
    rows: RowSum
    ids: bytes

    @property
    def hashes(self) -> Hashes:
        """(n,) the hashes of the ids."""
        return np.frombuffer(self.ids, np.uint64)


@dataclass(frozen=True)
class ListingFiles(Sequence[str]):
    """The listing files of one role: `files` of them, those numbered in `renamed` written again."""

    folder: str
    role: Role
    files: int
    renamed: frozenset[int] = frozenset()

    @property
    def first(self) -> PartNames:
        """The files as they were listed."""
        return PartNames(self.folder, self.role, self.files)

    @property
    def again(self) -> PartNames:
        """The files in which ids were told apart."""
        return PartNames(runs.join(self.folder, "renamed"), self.role, self.files)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return tuple(self[one] for one in range(self.files)[number])
        number = range(self.files)[number]
        return self.again[number] if number in self.renamed else self.first[number]

    def __len__(self) -> int:
        return self.files


@dataclass(frozen=True)
class Listed:
    """What is known of all listing files. images: how many; digest: of what they hold; renamed,
    example, files: as of `repeated_ids.Renamed`; refused: why they cannot be used, or ""."""

    images: int
    digest: str
    renamed: int = 0
    example: str = ""
    files: list[int] | None = None
    refused: str = ""


def listed_uri(folder: str, role: Role) -> str:
    """Where what is known is noted."""
    return runs.join(folder, "listed", f"{role}.json")


def settle_listing(storage: Storage, files: ListingFiles, listed: Sequence[ListedFile]) -> None:
    """Tell repeated ids apart, and note what is known of all files."""
    listed = sorted(listed, key=lambda one: one.number)
    hashes = [one.hashes for one in listed]
    sums = [one.rows for one in listed]
    try:
        renamed = make_ids_unique(storage, files.first, hashes, files.again)
    except InputError as error:
        found = Listed(sum(one.rows for one in sums), "", refused=str(error))
    else:
        for number in renamed.files:
            batches = tables.read_batches(storage, files.again[number], DIGESTED)
            sums[number] = RowSum.of_tables(batches)
        total = sum(sums, RowSum())
        told = renamed.images, renamed.example, list(renamed.files)
        found = Listed(total.rows, total.digest, *told)
    storage.write(listed_uri(files.folder, files.role), json.dumps(asdict(found)).encode())


def read_listed(storage: Storage, folder: str, role: Role) -> Listed:
    """What `settle_listing` has noted; InputError where the files cannot be used."""
    found = parse_as(Listed, storage.read(listed_uri(folder, role)))
    if found.refused:
        raise InputError(found.refused)
    return found
