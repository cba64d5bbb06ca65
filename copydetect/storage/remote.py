"""Files of any scheme that Beam's file systems know, as `copydetect.storage.files.Storage`."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from copydetect.errors import InputError
from copydetect.storage.downloads import cached_download
from copydetect.storage.files import LocalStorage, StoredFile, Survey, settle
from copydetect.storage.globs import glob_expression
from copydetect.storage.records import (
    Record,
    linked_part,
    names_record,
    names_uri,
    record_uri,
    recorded_files,
    recorded_names,
    recorded_uri,
    records_uri,
    remove_recorded,
)

_REMOTE_BUFFER = 1 << 20
_SETTLED_TOGETHER = 8
"""A disk settles many files in the time of one."""
_NO_CLIENT = (ValueError, ImportError, AttributeError, TypeError)
_PATIENCE_SECONDS = 60.0
_SILENT: dict[str, str] = {}
"""Buckets that have not answered, and what their clients said."""


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
        with _remote_errors("read", uri):
            stream = FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)
        return io.BufferedReader(_RemoteStream(stream, uri), _REMOTE_BUFFER)

    def read(self, uri: str) -> bytes:
        with self.open(uri) as file:
            return file.read()

    def write(self, uri: str, data: bytes) -> None:
        if _is_local(uri):
            self._local.write(uri, data)
            return
        with FileSystems.create(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.write(data)

    def write_together(self, folder: str, files: Mapping[str, bytes]) -> None:
        if _is_local(folder):
            self._local.write_together(folder, files)
            return
        for name, data in files.items():
            BeamStorage.write(self, f"{folder}/{name}", data)

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
        with _remote_errors("look for", uri):
            return bool(FileSystems.exists(uri)) or bool(self.files_under(uri))

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
        with _remote_errors("list", pattern):
            found = FileSystems.match([pattern.replace("**/", "**")])[0].metadata_list
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
        paths = [file.uri for file in self.files_under(uri)] or [uri]
        FileSystems.delete([path for path in paths if FileSystems.exists(path)])

    def _download(self, uri: str) -> str:
        files = self.matching(glob.escape(uri))
        if not files:
            raise InputError(f"cannot read {uri}: there is no such file")
        try:
            content = FileSystems.checksum(uri)
        except (BeamIOError, OSError, NotImplementedError):
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
        with _remote_errors("read", self._uri):
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _remote_errors("read", self._uri):
            self._stream.seek(offset, whence)
            return int(self._stream.tell())

    def tell(self) -> int:
        return int(self._stream.tell())

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._stream.close()


@contextlib.contextmanager
def _remote_errors(verb: str, uri: str) -> Iterator[None]:
    """Each client has its own errors; one that is missing is told by nearly any of them.

    Clients try for minutes before they give up. A bucket that has not answered for so long is not
    asked again by this process: else a manifest of its files would take for ever.
    """
    bucket = "/".join(uri.split("/")[:3])
    _refuse_without_credentials(verb, uri)
    if bucket in _SILENT:
        said = f"{bucket} did not answer before: {_SILENT[bucket]}"
        raise InputError(f"cannot {verb} {uri}: {said}") from OSError(said)
    started = time.monotonic()
    try:
        yield
    except InputError:
        raise
    except _NO_CLIENT as error:
        scheme = uri.partition("://")[0]
        raise InputError(
            f"cannot {verb} {uri}: no client for {scheme}:// is installed or set up: {error}"
        ) from error
    except Exception as error:
        if time.monotonic() - started > _PATIENCE_SECONDS:
            _SILENT[bucket] = str(error)
        trouble = error if isinstance(error, OSError) else OSError(str(error))
        raise InputError(f"cannot {verb} {uri}: {error}") from trouble


def _refuse_without_credentials(verb: str, uri: str) -> None:
    """InputError where S3 would be asked without credentials: its client tries for minutes."""
    if uri.startswith("s3://") and not _has_s3_credentials():
        raise InputError(
            f"cannot {verb} {uri}: there are no credentials for s3://. Set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or give --s3_access_key_id and --s3_secret_access_key"
        )


@lru_cache(maxsize=1)
def _has_s3_credentials() -> bool:
    """Whether the client would find some, where it is installed."""
    try:
        import boto3
    except ImportError:
        return True  # that it is missing is told when it is asked for
    options = getattr(FileSystems, "_pipeline_options", None)
    given = options is not None and options.get_all_options().get("s3_access_key_id")
    return bool(given) or boto3.Session().get_credentials() is not None


class RecordedStorage(BeamStorage):
    """`BeamStorage` that keeps records of what it writes into a folder, as `records` says, and
    neither replaces nor deletes there what has none.

    settles: whether each local file is on the disk before it gets its name. Else `settle` sees to
    that for many at once, which takes a fraction of the time: after a loss of power before that,
    records tell which files are not whole.
    """

    def __init__(self, folder: str, row_copies: str = "", settles: bool = True) -> None:
        super().__init__(row_copies)
        self._folder = folder.rstrip("/")
        self._local = LocalStorage(settles=settles)

    def settle(self, uris: Iterable[str]) -> None:
        """Wait until local files, and their records, are on the disk."""
        files = list(filter(_is_local, uris))
        with ThreadPoolExecutor(_SETTLED_TOGETHER) as pool:
            list(pool.map(settle, [*files, *(record_uri(self._folder, uri) for uri in files)]))

    def write(self, uri: str, data: bytes) -> None:
        record = Record.of(io.BytesIO(data))
        if not self._is_inside(uri):
            super().write(uri, data)
        elif _is_local(uri):
            self._refuse_foreign(uri)
            self._local.write(uri, data, settled=lambda: self._note(uri, record))
        else:
            self._note(uri, record)
            super().write(uri, data)

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

    def upload(self, local_path: str, uri: str) -> None:
        with open(local_path, "rb") as stream:
            record = Record.of(stream)
        if not self._is_inside(uri):
            super().upload(local_path, uri)
        elif _is_local(uri):
            self._refuse_foreign(uri)
            self._local.upload(local_path, uri, settled=lambda: self._note(uri, record))
        else:
            self._note(uri, record)
            super().upload(local_path, uri)

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
        """Remove what has a record: a file, or those in a folder; and the records."""
        if _is_local(uri):
            remove_recorded(self._folder, uri)
            return
        noted = [record_uri(self._folder, uri)]
        noted += [file.uri for file in self.files_under(records_uri(self._folder, uri))]
        for record in noted:
            if self.exists(record):
                named = recorded_names(self._folder, record, self.read(record))
                for file in named or [recorded_uri(self._folder, record)]:
                    super().delete(file)
                super().delete(record)

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
