"""Where files are: one small protocol, and its local form (`transforms` has Beam's)."""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from copydetect.errors import InputError


@dataclass(frozen=True)
class StoredFile:
    """A file that exists: its URI and its size in bytes."""

    uri: str
    size_bytes: int


class Storage(Protocol):
    """Reads and writes files by URI. Writing is atomic: a file is whole or it does not exist."""

    def open(self, uri: str) -> BinaryIO:
        """A seekable stream of an existing file; InputError where there is none."""

    def read(self, uri: str) -> bytes:
        """All bytes of an existing file; InputError where there is none."""

    def write(self, uri: str, data: bytes) -> None:
        """Replace or create the file, and the folders that it needs."""

    def upload(self, local_path: str, uri: str) -> None:
        """Move a finished local file to `uri`, atomically."""

    def local_path(self, uri: str) -> str:
        """A path to read the file at: itself where it is local, a cached download elsewhere."""

    def exists(self, uri: str) -> bool:
        """Whether there is a file or a folder."""

    def files_under(self, uri: str) -> list[StoredFile]:
        """Every file below a folder, sorted by URI; empty where there is none."""

    def matching(self, pattern: str) -> list[StoredFile]:
        """The files that a glob matches, sorted by URI; `**` crosses folders."""

    def delete(self, uri: str) -> None:
        """Remove a file, or a folder with everything below it; nothing where there is none."""


class LocalStorage:
    """`Storage` on the local disk; URIs are paths."""

    def open(self, uri: str) -> BinaryIO:
        try:
            return open(uri, "rb")
        except OSError as error:
            raise InputError(f"cannot read {uri}: {error.strerror}") from error

    def read(self, uri: str) -> bytes:
        with self.open(uri) as file:
            return file.read()

    def write(self, uri: str, data: bytes) -> None:
        temporary = _temporary_beside(uri)
        try:
            temporary.write_bytes(data)
            os.replace(temporary, uri)
        finally:
            temporary.unlink(missing_ok=True)

    def upload(self, local_path: str, uri: str) -> None:
        temporary = _temporary_beside(uri)
        try:
            shutil.move(local_path, temporary)
            os.replace(temporary, uri)
        finally:
            temporary.unlink(missing_ok=True)

    def local_path(self, uri: str) -> str:
        return uri

    def exists(self, uri: str) -> bool:
        return os.path.exists(uri)

    def files_under(self, uri: str) -> list[StoredFile]:
        found = []
        for folder, subfolders, names in os.walk(uri, followlinks=True):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            paths = [os.path.join(folder, name) for name in names if not name.startswith(".")]
            found += [
                StoredFile(path, os.path.getsize(path)) for path in paths if os.path.isfile(path)
            ]
        return sorted(found, key=lambda file: file.uri)

    def matching(self, pattern: str) -> list[StoredFile]:
        paths = sorted(glob.glob(pattern, recursive=True))
        return [StoredFile(path, os.path.getsize(path)) for path in paths if os.path.isfile(path)]

    def delete(self, uri: str) -> None:
        if os.path.isdir(uri):
            shutil.rmtree(uri)
        else:
            Path(uri).unlink(missing_ok=True)


def _temporary_beside(uri: str) -> Path:
    """A hidden name next to `uri`: on the same file system, and skipped by listings."""
    target = Path(uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}")
