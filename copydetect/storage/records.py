"""Records of what was written into a folder: what is whole, and what may be deleted.

A run that is killed, a disk that fills up or a machine that loses power leave files that are
missing, empty or cut off; and a folder of results may hold files of somebody else. So each file
that is written into OUT has a record, its size and its SHA-256. It is written once the file's bytes
are on the disk (those of scratch need not be) and before they get their name:

    OUT/run-…/matches/part-00000.parquet
    OUT/.copydetect/run-…/matches/part-00000.parquet.json

A file that does not match its record is made again. A file without a record was not made by
copydetect: it is neither replaced nor deleted. Many small files that are written together have one
record of their names, `OUT/.copydetect/FOLDER/….names`, and go together.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from copydetect.json_values import parse_as

RECORDS = ".copydetect"
"""The folder of the records, which marks OUT as ours."""

_SUFFIX, _NAMES_SUFFIX = ".json", ".names"
_BLOCK = 1 << 20
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}")
"""Names of files that were being written, as `LocalStorage` makes them."""


@dataclass(frozen=True)
class Record:
    """What a finished file holds: its size, and its SHA-256 in hex."""

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, stream: BinaryIO) -> Record:
        """That of the rest of a stream."""
        digest, size = hashlib.sha256(), 0
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
        return cls(size, digest.hexdigest())

    @classmethod
    def parse(cls, data: bytes) -> Record | None:
        """What `to_json` gave; None where it is damaged."""
        try:
            return parse_as(cls, data)
        except ValueError:
            return None

    def to_json(self) -> bytes:
        """As a file holds it."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class _Names:
    """Files that were written together, by their names below one folder."""

    names: list[str]


def record_uri(folder: str, uri: str) -> str:
    """Where the record of a file below `folder` is; "" for any other file."""
    prefix = f"{folder.rstrip('/')}/"
    if not uri.startswith(prefix):
        return ""
    return f"{prefix}{RECORDS}/{uri[len(prefix) :]}{_SUFFIX}"


def records_uri(folder: str, below: str) -> str:
    """Where the records of all files in a folder below `folder` are; "" for any other."""
    return record_uri(folder, below).removesuffix(_SUFFIX)


def recorded_uri(folder: str, record: str) -> str:
    """The file that a record is of."""
    prefix = f"{folder.rstrip('/')}/{RECORDS}/"
    return f"{folder.rstrip('/')}/{record[len(prefix) :].removesuffix(_SUFFIX)}"


def names_uri(folder: str, below: str, names: Iterable[str]) -> str:
    """Where the record of files of these names in a folder below `folder` is: the same names have
    the same one."""
    digest = hashlib.sha256("\0".join(sorted(names)).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{records_uri(folder, below)}/{digest[:32]}{_NAMES_SUFFIX}"


def names_record(names: Iterable[str]) -> bytes:
    """The names, as their record holds them."""
    return json.dumps(asdict(_Names(sorted(names)))).encode()


def names_files(record: str) -> bool:
    """Whether a record is of many files, by their names."""
    return record.endswith(_NAMES_SUFFIX)


def recorded_names(folder: str, record: str, data: bytes) -> list[str]:
    """The files that a record of names is of; none where `record` is of one file, or damaged."""
    if not names_files(record):
        return []
    try:
        names = parse_as(_Names, data).names
    except ValueError:
        return []
    below = os.path.dirname(recorded_uri(folder, record))
    return [f"{below}/{name}" for name in names if _stays_below(name)]


def _stays_below(name: str) -> bool:
    """Whether a name leads nowhere but below its folder, whoever may have changed the record."""
    parts = name.split("/")
    return "\0" not in name and not {"", ".", ".."} & set(parts)


def recorded_files(folder: str, below: str) -> list[str]:
    """The files in a local folder below `folder` that have records, and `below` if it has one.

    What is behind a link is no record of ours.
    """
    found: list[str] = []
    if linked_part(folder, records_uri(folder, below)):
        return found
    if os.path.isfile(record_uri(folder, below)):
        found.append(below)
    for place, _, names in os.walk(records_uri(folder, below)):
        found += [recorded_uri(folder, f"{place}/{n}") for n in names if n.endswith(_SUFFIX)]
        for record in _of_names(place, names):
            found += recorded_names(folder, record, Path(record).read_bytes())
    return sorted(found)


def _of_names(place: str, names: Iterable[str]) -> list[str]:
    return [f"{place}/{name}" for name in names if name.endswith(_NAMES_SUFFIX)]


def linked_part(folder: str, uri: str) -> str:
    """The first part of a local path below `folder` that is a symbolic link, "" where none is."""
    path = folder.rstrip("/")
    for name in uri[len(path) + 1 :].split("/"):
        path = f"{path}/{name}"
        if os.path.islink(path):
            return path
    return ""


def remove_recorded(folder: str, below: str) -> None:
    """Delete the files in a local folder that have records, never through a link, and what was left
    half-written beside them; then their records, and folders that are empty by then."""
    if linked_part(folder, records_uri(folder, below)):
        return
    for uri in recorded_files(folder, below):
        if not linked_part(folder, os.path.dirname(uri)):
            _remove_file(uri)
        _remove_file(record_uri(folder, uri))
        _remove_empty(folder, os.path.dirname(uri))
        _remove_empty(folder, os.path.dirname(record_uri(folder, uri)))
    for place, _, names in os.walk(records_uri(folder, below), topdown=False):
        for record in _of_names(place, names):
            _remove_file(record)
        _remove_empty(folder, place)


def remove_unfinished(folder: str) -> None:
    """Delete what a process that was ended was writing in a local folder of ours.

    Nobody else may be writing there, but in a folder that has records of its own.
    """
    if not os.path.isdir(f"{folder}/{RECORDS}"):
        return
    for place, below, names in os.walk(folder):
        below[:] = [one for one in below if not os.path.isdir(f"{place}/{one}/{RECORDS}")]
        for name in names:
            if _UNFINISHED.fullmatch(name):
                _remove_file(f"{place}/{name}")
        if place.startswith(f"{folder.rstrip('/')}/{RECORDS}"):
            _remove_empty(folder, place)


def stranger_in(folder: str) -> str:
    """The first name in a local folder that is not marked as ours, "" where it is or is empty.

    A link to records elsewhere is no mark: those are of another folder.
    """
    mark = f"{folder}/{RECORDS}"
    if not os.path.isdir(folder) or (os.path.isdir(mark) and not os.path.islink(mark)):
        return ""
    return min(os.listdir(folder), default="")


def _remove_file(path: str) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
        os.unlink(path)


def _remove_empty(folder: str, place: str) -> None:
    """Remove a folder, and those above it up to `folder`, as long as they are empty."""
    top = folder.rstrip("/")
    while place.startswith(f"{top}/") and not os.path.islink(place):
        try:
            os.rmdir(place)
        except OSError:
            return
        place = os.path.dirname(place)
