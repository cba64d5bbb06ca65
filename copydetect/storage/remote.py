"""Files of any scheme that Beam's file systems know, as `copydetect.storage.files.Storage`."""

from __future__ import annotations

import glob
import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from copydetect.errors import InputError
from copydetect.storage.clients import file_systems, remote_errors
from copydetect.storage.downloads import cached_download
from copydetect.storage.files import LocalStorage, StoredFile, Survey, read_up_to
from copydetect.storage.globs import glob_expression
from copydetect.storage.records import (
    Record,
    linked_part,
    names_files,
    names_record,
    names_uri,
    record_uri,
    recorded_files,
    recorded_names,
    recorded_uri,
    records_uri,
    remove_recorded,
)
from copydetect.storage.swaps import swaps_for

_REMOTE_BUFFER = 1 << 20
_SENT_AT_ONCE = 8 << 20
_UNCOMPRESSED = "uncompressed"
"""Beam's name for bytes as they are, whatever a file is called."""


class BeamStorage:
    """`Storage` over Beam's file systems; paths without a scheme go to the local disk.

    Stateless, so that it can travel to workers. Downloads are kept in a cache folder of this
    machine, named by the URI and its content, and shared by all workers on it.
    """

    _local = LocalStorage()

    def __init__(self, row_copies: str = "") -> None:
        self.row_copies = row_copies

    def open(self, uri: str) -> BinaryIO:
        if _is_local(uri):
            return self._local.open(uri)
        with remote_errors("read", uri):
            stream = file_systems().open(uri, compression_type=_UNCOMPRESSED)
        return io.BufferedReader(_RemoteStream(stream, uri), _REMOTE_BUFFER)

    def read(self, uri: str, most_bytes: int | None = None) -> bytes:
        store = swaps_for(uri)
        if store is None:
            with self.open(uri) as file:
                return read_up_to(file, uri, most_bytes)
        found = store.load(uri, most_bytes)
        if found is None:
            raise InputError(f"cannot read {uri}: there is no such file")
        return found.data

    def write(self, uri: str, data: bytes) -> None:
        if _is_local(uri):
            self._local.write(uri, data)
            return
        store = swaps_for(uri) if len(data) <= _SENT_AT_ONCE else None
        if store is not None:
            store.put(uri, data)
        else:
            self._send(io.BytesIO(data), uri)

    def write_together(self, folder: str, files: Mapping[str, bytes]) -> None:
        if _is_local(folder):
            self._local.write_together(folder, files)
            return
        for name, data in files.items():
            BeamStorage.write(self, f"{folder}/{name}", data)

    def note(self, uri: str, data: bytes) -> None:
        pass

    def upload(self, local_path: str, uri: str) -> None:
        if _is_local(uri):
            self._local.upload(local_path, uri)
            return
        if os.path.getsize(local_path) <= _SENT_AT_ONCE:
            BeamStorage.write(self, uri, Path(local_path).read_bytes())
        else:
            with open(local_path, "rb") as source:
                self._send(source, uri)
        os.unlink(local_path)

    def local_path(self, uri: str) -> str:
        return self._local.local_path(uri) if _is_local(uri) else self._download(uri)

    def exists(self, uri: str) -> bool:
        if _is_local(uri):
            return self._local.exists(uri)
        with remote_errors("look for", uri):
            return bool(file_systems().exists(uri)) or bool(self.files_under(uri))

    def count(self, uris: Sequence[str]) -> int:
        """How many of these files there are; a folder of a bucket is listed once."""
        if not uris or _is_local(uris[0]):
            return sum(map(self.exists, uris))
        folders = {uri.rpartition("/")[0] for uri in uris}
        found = {file.uri for folder in folders for file in self.files_under(folder)}
        return len(found.intersection(uris))

    def is_whole(self, uri: str) -> bool:
        return self.exists(uri)

    def files_under(self, uri: str) -> list[StoredFile]:
        if _is_local(uri):
            return self._local.files_under(uri)
        return self.matching(glob.escape(uri.rstrip("/")) + "/**")

    def survey(self, uri: str) -> Survey:
        return self._local.survey(uri) if _is_local(uri) else Survey(self.files_under(uri))

    def matching(self, pattern: str) -> list[StoredFile]:
        if _is_local(pattern):
            return self._local.matching(pattern)
        # Beam's `**/` wants a folder, and its `?` takes a slash: it may list more, never less.
        with remote_errors("list", pattern):
            found = file_systems().match([pattern.replace("**/", "**")])[0].metadata_list
        matches = re.compile(glob_expression(pattern), re.DOTALL).fullmatch
        files = [
            StoredFile(one.path, one.size_in_bytes, changed=one.last_updated_in_seconds or 0.0)
            for one in found
            if matches(one.path)
        ]
        return sorted(files, key=lambda file: file.uri)

    def delete(self, uri: str) -> None:
        if _is_local(uri):
            self._local.delete(uri)
            return
        with remote_errors("delete", uri):
            found = [file.uri for file in self.files_under(uri)]
            file_systems().delete(found or [path for path in [uri] if file_systems().exists(path)])

    def _send(self, source: BinaryIO, uri: str) -> None:
        with (
            remote_errors("write", uri),
            file_systems().create(uri, compression_type=_UNCOMPRESSED) as target,
        ):
            shutil.copyfileobj(source, target, _REMOTE_BUFFER)

    def _download(self, uri: str) -> str:
        files = self.matching(glob.escape(uri))
        if not files:
            raise InputError(f"cannot read {uri}: there is no such file")
        try:
            content = file_systems().checksum(uri)
        except (OSError, NotImplementedError):
            content = ""
        size = files[0].size_bytes
        key = hashlib.sha256(f"{uri}:{size}:{content}".encode()).hexdigest()
        return cached_download(uri, size, key, lambda: self.open(uri))


class _RemoteStream(io.RawIOBase):
    """A stream of a remote file whose errors are InputErrors, whatever its client raises."""

    def __init__(self, stream: Any, uri: str) -> None:
        self._stream = stream
        self._uri = uri

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with remote_errors("read", self._uri):
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with remote_errors("read", self._uri):
            self._stream.seek(offset, whence)
            return int(self._stream.tell())

    def tell(self) -> int:
        return int(self._stream.tell())

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._stream.close()


class RecordedStorage(BeamStorage):
    """`BeamStorage` that records each file it writes into a folder (see `records`). A file there
    without a record belongs to somebody else and is neither replaced nor deleted.

    scratch: folders of each run whose files go once it is done. They may be lost with the power,
    which their records would tell, so that nobody waits for the disk.
    """

    def __init__(self, folder: str, row_copies: str = "", scratch: Sequence[str] = ()) -> None:
        super().__init__(row_copies)
        self._folder = folder.rstrip("/")
        self._scratch = tuple(f"{name}/" for name in scratch)

    def write(self, uri: str, data: bytes) -> None:
        here, anywhere = partial(self._local.write, uri, data), partial(super().write, uri, data)
        self._put(uri, Record.of(io.BytesIO(data)), here, anywhere)

    def write_together(self, folder: str, files: Mapping[str, bytes]) -> None:
        """One record for all: they are deleted with the folder, and none is checked."""
        if not self._is_inside(folder):
            super().write_together(folder, files)
            return
        record = names_uri(self._folder, folder, files)
        if _is_local(folder):
            self._refuse_foreign(*(f"{folder}/{name}" for name in files))
            self._local.write_together(
                folder, files, settled=lambda: self._local.write(record, names_record(files))
            )
        else:
            super().write(record, names_record(files))
            super().write_together(folder, files)

    def note(self, uri: str, data: bytes) -> None:
        if self._is_inside(uri):
            self._note(uri, Record.of(io.BytesIO(data)))

    def upload(self, local_path: str, uri: str) -> None:
        with open(local_path, "rb") as stream:
            record = Record.of(stream)
        here = partial(self._local.upload, local_path, uri)
        self._put(uri, record, here, partial(super().upload, local_path, uri))

    def _put(
        self, uri: str, record: Record, here: Callable[..., None], anywhere: Callable[[], None]
    ) -> None:
        """Write a file, with its record where that belongs to it. here: writes a local file."""
        if not self._is_inside(uri):
            anywhere()
        elif _is_local(uri):
            self._refuse_foreign(uri)
            below = uri[len(self._folder) + 1 :].partition("/")[2]
            lasting = not below.startswith(self._scratch)
            noted, told = record_uri(self._folder, uri), record.to_json()
            note = partial(self._local.write, noted, told, lasting=lasting)
            here(settled=note, lasting=lasting)
        else:
            self._note(uri, record)
            anywhere()

    def is_whole(self, uri: str) -> bool:
        """Whether the file is what its record says."""
        try:
            noted = record_uri(self._folder, uri)
            wanted = Record.parse(self.read(noted)) if noted else None
            with self.open(uri) as stream:
                return wanted is not None and wanted == Record.of(stream)
        except (InputError, OSError):
            return False

    def delete(self, uri: str) -> None:
        """Remove a file that has a record, or all such files of a folder, and their records."""
        if _is_local(uri):
            remove_recorded(self._folder, uri)
            return
        records = self._records(uri)
        noted = self._noted(records)
        there = {file.uri for file in self.files_under(uri)}
        there |= {one for one in noted & {uri} if file_systems().exists(one)}
        with remote_errors("delete", uri):
            # Records go last: what has none would stay for ever.
            for some in (sorted(noted & there), records):
                if some:
                    file_systems().delete(some)

    def recorded(self, uri: str) -> list[str]:
        """A file that has a record, or all such files of a folder, in order."""
        if _is_local(uri):
            return recorded_files(self._folder, uri)
        return sorted(self._noted(self._records(uri)))

    def _records(self, uri: str) -> list[str]:
        """The records of a file or a folder in a bucket."""
        records = [file.uri for file in self.files_under(records_uri(self._folder, uri))]
        return records + [one for one in [record_uri(self._folder, uri)] if self.exists(one)]

    def _noted(self, records: Sequence[str]) -> set[str]:
        """The files that some records tell of."""
        noted: set[str] = set()
        for record in records:
            data = self.read(record) if names_files(record) else b""
            noted.update(recorded_names(self._folder, record, data))
            noted.add(recorded_uri(self._folder, record))
        return noted

    def _is_inside(self, uri: str) -> bool:
        return bool(record_uri(self._folder, uri))

    def _note(self, uri: str, record: Record) -> None:
        super().write(record_uri(self._folder, uri), record.to_json())

    def _refuse_foreign(self, *uris: str) -> None:
        """InputError where a file is somebody else's, or would be written through a link."""
        alone = []
        for uri in uris:
            record = record_uri(self._folder, uri)
            if link := linked_part(self._folder, uri) or linked_part(self._folder, record):
                raise InputError(f"{link} is a link, through which nothing is written: remove it")
            if os.path.exists(uri) and not os.path.exists(record):
                alone.append(uri)
        if not alone:
            return
        top = alone[0][len(self._folder) + 1 :].split("/")[0]
        ours = set(recorded_files(self._folder, f"{self._folder}/{top}"))
        for uri in alone:
            if uri not in ours:
                raise InputError(
                    f"{uri} was not made by copydetect and is not replaced: move it away"
                )


def _is_local(uri: str) -> bool:
    return "://" not in uri
