"""The names of files that an input holds, gathered as they are found and given back in batches.

A folder may hold a hundred million names, so that not all are held: some ten thousand are, and from
there on they wait in 256 temporary files. Names that may belong together (see `companions`), and
those of one file, are in one batch whatever the number of batches.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple, TextIO

from copydetect.inputs.companions import family_of
from copydetect.inputs.extensions import SourceKind
from copydetect.inputs.sources import below
from copydetect.storage.scratch import scratch_folder

NAMES_HELD = 32_768
_FILES = 256


class FoundName(NamedTuple):
    """A file of an input: the number of the input, its path below the root, the kind that it is of
    (None where it is no image and holds none), and what tells hard links to it, or ""."""

    of_input: int
    name: str
    kind: SourceKind | None
    identity: str = ""


class NameSpool:
    """Takes names, one by one, and gives them back in batches. Its files go with it."""

    def __init__(self, held: int = NAMES_HELD) -> None:
        """held: how many names are held before they are written."""
        self._most = held
        self._held: list[FoundName] = []
        self._folder = scratch_folder()
        self._open = ExitStack()
        self._files: list[TextIO] = []
        self._roots: list[str] = []

    def begin(self, root: str) -> int:
        """Begin with another input; its number."""
        self._roots.append(root)
        return len(self._roots) - 1

    def add(self, found: FoundName) -> None:
        """Take a name."""
        self._held.append(found)
        if len(self._held) > self._most:
            self._write()

    def batches(self) -> Iterator[list[FoundName]]:
        """All names; one batch where no more are there than are held."""
        if not self._files:
            yield self._held
            return
        self._write()
        for file in self._files:
            file.seek(0)
            yield [FoundName(*json.loads(line)) for line in file]

    def close(self) -> None:
        """Remove what is left."""
        self._open.close()
        self._folder.cleanup()

    def _write(self) -> None:
        if not self._files:
            names = (os.path.join(self._folder.name, str(number)) for number in range(_FILES))
            self._files = [open(name, "w+", encoding="ascii") for name in names]  # noqa: SIM115
            for file in self._files:
                self._open.callback(file.close)
        for found in self._held:
            uri = below(self._roots[found.of_input], found.name)
            key = family_of(uri).encode("utf-8", "surrogatepass")
            self._files[zlib.crc32(key) % _FILES].write(json.dumps(found) + "\n")
        self._held = []
