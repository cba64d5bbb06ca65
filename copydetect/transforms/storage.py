"""Files of any scheme that Beam's file systems know, as `copydetect.storage.Storage`."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from copydetect.errors import InputError
from copydetect.records import Record, record_uri, records_uri
from copydetect.storage import LocalStorage, Storage, StoredFile
from copydetect.transforms.downloads import cached_download


def storage_for(uri: str) -> Storage:
    """The plain local storage for a path, Beam's file systems for `scheme://…`."""
    return BeamStorage() if "://" in uri else LocalStorage()


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
        try:
            stream = FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)
        except (BeamIOError, OSError, ValueError) as error:
            raise InputError(f"cannot read {uri}: {error}") from error
        return stream

    def read(self, uri: str) -> bytes:
        with self.open(uri) as file:
            return file.read()

    def write(self, uri: str, data: bytes) -> None:
        if _is_local(uri):
            self._local.write(uri, data)
            return
        with FileSystems.create(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.write(data)

    def upload(self, local_path: str, uri: str) -> None:
        if _is_local(uri):
            self._local.upload(local_path, uri)
            return
        stream = FileSystems.create(uri, compression_type=CompressionTypes.UNCOMPRESSED)
        with open(local_path, "rb") as source, stream as target:
            shutil.copyfileobj(source, target, 1 << 20)
        os.unlink(local_path)

    def local_path(self, uri: str) -> str:
        return self._local.local_path(uri) if _is_local(uri) else self._download(uri)

    def exists(self, uri: str) -> bool:
        if _is_local(uri):
            return self._local.exists(uri)
        return bool(FileSystems.exists(uri)) or bool(self.files_under(uri))

    def is_whole(self, uri: str) -> bool:
        return self.exists(uri)

    def files_under(self, uri: str) -> list[StoredFile]:
        if _is_local(uri):
            return self._local.files_under(uri)
        return self.matching(uri.rstrip("/") + "/**")

    def matching(self, pattern: str) -> list[StoredFile]:
        if _is_local(pattern):
            return self._local.matching(pattern)
        try:
            found = FileSystems.match([pattern])[0].metadata_list
        except (BeamIOError, OSError, ValueError) as error:
            raise InputError(f"cannot list {pattern}: {error}") from error
        files = [StoredFile(entry.path, entry.size_in_bytes) for entry in found]
        return sorted(files, key=lambda file: file.uri)

    def delete(self, uri: str) -> None:
        if _is_local(uri):
            self._local.delete(uri)
            return
        paths = [file.uri for file in self.files_under(uri)] or [uri]
        FileSystems.delete([path for path in paths if FileSystems.exists(path)])

    def _download(self, uri: str) -> str:
        files = self.matching(uri)
        if not files:
            raise InputError(f"cannot read {uri}: there is no such file")
        try:
            content = FileSystems.checksum(uri)
        except (BeamIOError, OSError, NotImplementedError):
            content = ""
        size = files[0].size_bytes
        key = hashlib.sha256(f"{uri}:{size}:{content}".encode()).hexdigest()
        return cached_download(uri, size, key, lambda: self.open(uri))


class RecordedStorage(BeamStorage):
    """`BeamStorage` that keeps a record of each file that it writes below the folder of a run."""

    def __init__(self, folder: str, row_copies: str = "") -> None:
        super().__init__(row_copies)
        self._folder = folder

    def write(self, uri: str, data: bytes) -> None:
        super().write(uri, data)
        if noted := record_uri(self._folder, uri):
            super().write(noted, Record.of(io.BytesIO(data)).to_json())

    def upload(self, local_path: str, uri: str) -> None:
        with open(local_path, "rb") as stream:
            record = Record.of(stream)
        super().upload(local_path, uri)
        if noted := record_uri(self._folder, uri):
            super().write(noted, record.to_json())

    def is_whole(self, uri: str) -> bool:
        """Whether the file is what its record says."""
        noted = record_uri(self._folder, uri)
        try:
            wanted = Record.parse(self.read(noted)) if noted else None
            with self.open(uri) as stream:
                return wanted is not None and wanted == Record.of(stream)
        except (InputError, OSError):
            return False

    def delete(self, uri: str) -> None:
        """Remove a file or a folder, and the records of it."""
        super().delete(uri)
        for noted in (record_uri(self._folder, uri), records_uri(self._folder, uri)):
            if noted:
                super().delete(noted)


def _is_local(uri: str) -> bool:
    return "://" not in uri
