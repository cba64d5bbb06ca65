"""Pieces of an input in files, where there are so many that they are not held.

the launcher's temporary folder → OUT/listing → workers, which read the file of a number
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

from copydetect import runs
from copydetect.inputs.sources import Source
from copydetect.storage.files import Storage
from copydetect.storage.scratch import scratch_folder

PIECES_HELD = 256
_TOGETHER = 16
"""Pieces of a file: 4,096 images, as a part has, or so many containers."""


def kept_pieces(pieces: Iterable[Source], held: int = PIECES_HELD) -> Sequence[Source]:
    """The pieces as a tuple, or in files where there are more than `held`."""
    remaining = iter(pieces)
    first = list(islice(remaining, held))
    more = list(islice(remaining, 1))
    return PieceFiles(chain(first, more, remaining)) if more else tuple(first)


class PieceFiles(Sequence[Source]):
    """Pieces in files of a temporary folder, which goes with it."""

    def __init__(self, pieces: Iterable[Source]) -> None:
        self._folder = scratch_folder()
        self._pieces = 0
        self.files = 0
        remaining = iter(pieces)
        while some := list(islice(remaining, _TOGETHER)):
            Path(self._path(self.files)).write_bytes(_packed(some))
            self.files += 1
            self._pieces += len(some)

    def __len__(self) -> int:
        return self._pieces

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return tuple(self[one] for one in range(*number.indices(len(self))))
        number = range(len(self))[number]
        return _unpacked(self._read(number // _TOGETHER))[number % _TOGETHER]

    def __iter__(self) -> Iterator[Source]:
        for number in range(self.files):
            yield from _unpacked(self._read(number))

    def copy_to(self, storage: Storage, folder: str, role: str) -> None:
        """Copy the files to where workers find them."""
        for number in range(self.files):
            storage.write(pieces_uri(folder, role, number), self._read(number))

    def _read(self, number: int) -> bytes:
        return Path(self._path(number)).read_bytes()

    def _path(self, number: int) -> str:
        return os.path.join(self._folder.name, str(number))


def pieces_uri(folder: str, role: str, number: int) -> str:
    """Where a file of pieces of a role is."""
    return runs.join(folder, "pieces", f"{role}-{number:05d}.json")


def read_pieces(storage: Storage, uri: str) -> list[Source]:
    """The pieces of a file."""
    return _unpacked(storage.read(uri))


def _packed(pieces: Sequence[Source]) -> bytes:
    return json.dumps([asdict(piece) for piece in pieces]).encode()


def _unpacked(data: bytes) -> list[Source]:
    return [
        Source(
            kind=one["kind"],
            root=one["root"],
            names=tuple(one["names"]),
            exclude=tuple(one["exclude"]),
            unreadable=tuple((folder, why) for folder, why in one["unreadable"]),
            companions=tuple((name, tuple(others)) for name, others in one["companions"]),
        )
        for one in json.loads(data)
    ]
