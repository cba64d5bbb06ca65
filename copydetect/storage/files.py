"""Where files are: one small protocol, and its local form (`storage.remote` has Beam's)."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import stat
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from copydetect.errors import InputError
from copydetect.storage.globs import folder_before_wildcard, glob_expression

HIDDEN, SPECIAL = "hidden", "pipes or devices"
LINK, BROKEN_LINK = "links to listed files", "links that lead nowhere"
"""What is passed over in a folder."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that exists: its URI and its size in bytes.

    identity: the same for all names of one file, where it has several (hard links), else "";
    changed: when, in seconds since 1970, 0 where that is not known.
    """

    uri: str
    size_bytes: int
    identity: str = ""
    changed: float = 0.0


@dataclass(frozen=True)
class Survey:
    """The files of a folder, and what is left out: that is known once all files were taken.

    files: in any order; on a disk they are found as they are taken, so that not all are held.
    unreadable: (folder, why) for those below it that cannot be listed; passed_over: how many
    entries of other kinds there are, by what they are.
    """

    files: Iterable[StoredFile]
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


class Storage(Protocol):
    """Reads and writes files by URI. Writing is atomic: a file is whole or it does not exist, and
    on the local disk what has been written outlasts a loss of power, but for a run's scratch.

    row_copies: the folder that `inputs.row_copies` keeps its copies in, "" for none.
    """

    row_copies: str

    def open(self, uri: str) -> BinaryIO:
        """A seekable stream of an existing file; InputError where there is none."""

    def read(self, uri: str, most_bytes: int | None = None) -> bytes:
        """All bytes of an existing file; InputError where there is none, or it has more than
        `most_bytes`."""

    def write(self, uri: str, data: bytes) -> None:
        """Replace or create the file, and the folders that it needs."""

    def write_together(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Replace or create many small files of a folder, each as `write` does, by their names."""

    def note(self, uri: str, data: bytes) -> None:
        """Keep a record of a file that was written with these bytes by other means, where records
        are kept."""

    def upload(self, local_path: str, uri: str) -> None:
        """Move a finished local file to `uri`, atomically."""

    def local_path(self, uri: str) -> str:
        """A path to read the file at: itself where it is local, a cached download elsewhere."""

    def exists(self, uri: str) -> bool:
        """Whether there is a file or a folder."""

    def count(self, uris: Sequence[str]) -> int:
        """How many of these files there are."""

    def is_whole(self, uri: str) -> bool:
        """Whether there is a file that holds what was written, as far as this storage can tell."""

    def files_under(self, uri: str) -> list[StoredFile]:
        """Every file below a folder, sorted by URI; empty where there is none."""

    def survey(self, uri: str) -> Survey:
        """The same, and what is left out of it."""

    def matching(self, pattern: str) -> list[StoredFile]:
        """The files that a glob matches, sorted by URI; `**` crosses folders."""

    def delete(self, uri: str) -> None:
        """Remove a file, or a folder with everything below it; nothing where there is none."""


class LocalStorage:
    """`Storage` on the local disk; URIs are paths."""

    def __init__(self, row_copies: str = "") -> None:
        self.row_copies = row_copies

    def open(self, uri: str) -> BinaryIO:
        try:
            # Opening a pipe would wait for ever for someone to write to it.
            if not stat.S_ISREG(os.stat(uri).st_mode):
                raise InputError(f"cannot read {uri}: it is not a plain file")
            return open(uri, "rb")
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {uri}: {_reason(error)}") from error

    def read(self, uri: str, most_bytes: int | None = None) -> bytes:
        with self.open(uri) as file:
            try:
                return read_up_to(file, uri, most_bytes)
            except OSError as error:
                raise InputError(f"cannot read {uri}: {_reason(error)}") from error

    def write(
        self,
        uri: str,
        data: bytes,
        settled: Callable[[], object] = lambda: None,
        lasting: bool = True,
    ) -> None:
        """settled: is called once the bytes are on the disk, before they get their name; lasting:
        whether they must be there by then, or may be lost with the power."""
        _finish({uri: partial(_fill, data)}, settled, lasting)

    def write_together(
        self, folder: str, files: Mapping[str, bytes], settled: Callable[[], object] = lambda: None
    ) -> None:
        """settled: as in `write`, once for all files."""
        fills = {f"{folder}/{name}": partial(_fill, data) for name, data in files.items()}
        _finish(fills, settled)

    def note(self, uri: str, data: bytes) -> None:
        pass

    def upload(
        self,
        local_path: str,
        uri: str,
        settled: Callable[[], object] = lambda: None,
        lasting: bool = True,
    ) -> None:
        """settled, lasting: as in `write`."""
        _finish({uri: partial(shutil.move, local_path)}, settled, lasting)

    def local_path(self, uri: str) -> str:
        return uri

    def exists(self, uri: str) -> bool:
        return os.path.exists(uri)

    def count(self, uris: Sequence[str]) -> int:
        return sum(map(self.exists, uris))

    def is_whole(self, uri: str) -> bool:
        return self.exists(uri)

    def files_under(self, uri: str) -> list[StoredFile]:
        return sorted(self.survey(uri).files, key=lambda file: file.uri)

    def survey(self, uri: str) -> Survey:
        """Hidden files and folders are left out, and what vanishes meanwhile or cannot be read.

        Each folder is listed once, by its real place where there is a choice, so that links which
        lead back or aside neither loop nor show a file twice. InputError where `uri` itself may
        not be listed.
        """
        if not os.path.isdir(uri):
            return Survey([])
        try:
            os.scandir(uri).close()
        except OSError as error:
            raise InputError(f"cannot list {uri}: {_reason(error)}") from error
        left_out = Survey([])
        return replace(left_out, files=_walk(uri.rstrip("/") or "/", left_out))

    def matching(self, pattern: str) -> list[StoredFile]:
        paths = _crossing(pattern) if "**" in pattern else glob.glob(pattern)
        return [file for path in sorted(paths) if (file := _stored(path)) is not None]

    def delete(self, uri: str) -> None:
        if os.path.isdir(uri):
            shutil.rmtree(uri)
        else:
            Path(uri).unlink(missing_ok=True)


def _walk(root: str, left_out: Survey) -> Iterator[StoredFile]:
    """The visible files below a folder; linked folders after all real ones."""
    seen: set[tuple[int, int]] = set()
    real_root = os.path.realpath(root)
    folders, linked = [root], deque[str]()
    while folders or linked:
        folder = folders.pop() if folders else linked.popleft()
        others = []
        for entry in _entries(folder, seen, left_out):
            if not entry.is_file(follow_symlinks=False):
                others.append(entry)
            elif file := _stored(entry.path):
                yield file
        for entry in sorted(others, key=lambda entry: entry.name):
            if not entry.is_symlink():
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    left_out.passed_over[SPECIAL] += 1
            elif os.path.isdir(entry.path):  # unlike the entry's own, no error on a circle
                linked.append(entry.path)
            elif _is_visible_below(real_root, os.path.realpath(entry.path)):
                left_out.passed_over[LINK] += 1
            elif file := _stored(entry.path):
                yield file
            else:
                left_out.passed_over[BROKEN_LINK] += 1


def _entries(
    folder: str, seen: set[tuple[int, int]], left_out: Survey
) -> Iterator[os.DirEntry[str]]:
    """The visible entries of a folder; none where it has been seen or cannot be read."""
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    left_out.passed_over[HIDDEN] += 1
                else:
                    yield entry
    except OSError as error:
        left_out.unreadable.append((folder, _reason(error)))


def _stored(path: str) -> StoredFile | None:
    """A plain file and its size; None for anything else, and for what is no longer there."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    identity = f"{status.st_dev}:{status.st_ino}" if status.st_nlink > 1 else ""
    return StoredFile(path, status.st_size, identity)


def _is_visible_below(folder: str, path: str) -> bool:
    prefix = folder.rstrip("/") + "/"
    return path.startswith(prefix) and "/." not in path[len(prefix) - 1 :]


def _crossing(pattern: str) -> Iterator[str]:
    """Paths that a glob with `**` matches, without following links in circles."""
    folder = folder_before_wildcard(pattern) or ("/" if pattern.startswith("/") else ".")
    prefix = "./" if folder == "." and not pattern.startswith("./") else ""
    matches = re.compile(glob_expression(prefix + pattern), re.DOTALL).fullmatch
    for file in LocalStorage().files_under(folder):
        if matches(file.uri):
            yield file.uri.removeprefix(prefix)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def read_up_to(file: BinaryIO, uri: str, most_bytes: int | None) -> bytes:
    """All bytes of a stream; InputError where it has more than `most_bytes`."""
    if most_bytes is not None:
        if file.seek(0, os.SEEK_END) > most_bytes:
            raise too_large(uri, most_bytes)
        file.seek(0)
    return file.read()


def too_large(uri: str, most_bytes: int) -> InputError:
    """What is raised instead of reading a file that is larger than it may be."""
    return InputError(f"cannot read {uri}: it has more than {most_bytes:,} bytes")


def _finish(
    files: Mapping[str, Callable[[Path], object]],
    settled: Callable[[], object],
    lasting: bool = True,
) -> None:
    """Have files written under hidden names beside theirs, which they get once all are on the disk;
    OSError that names the file where that cannot be. files: what writes each, by its URI."""
    written: dict[str, Path] = {}
    uri = ""
    try:
        for uri, fill in files.items():
            written[uri] = _temporary_beside(uri)
            fill(written[uri])
            if lasting:
                _settle(written[uri])
        settled()
        for uri, temporary in written.items():
            os.replace(temporary, uri)
    except OSError as error:
        # A full disk is told without a path, and that of a hidden name says little.
        raise OSError(error.errno, error.strerror or str(error), uri) from error
    finally:
        for temporary in written.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _fill(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _settle(path: Path) -> None:
    """Wait until a file is on the disk: only then its name may say that it is finished."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _temporary_beside(uri: str) -> Path:
    """A hidden name next to `uri`: on the same file system, and skipped by listings."""
    target = Path(uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}")
