"""Small objects of a bucket that are replaced only where nobody else has done so meanwhile.

A bucket has no locks. What it has are conditional writes: an object is created only where there is
none (S3 `If-None-Match: *`, Google `ifGenerationMatch=0`), and replaced only where it is still the
version that was read (S3 `If-Match: ETAG`, Google `ifGenerationMatch=GENERATION`). That is enough
for pointers and for leases.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from copydetect.storage.clients import file_systems, remote_errors, status_of
from copydetect.storage.files import too_large

_GONE, _NOTHING_THERE, _CONFLICTS = 404, 416, (409, 412)
"""HTTP: no such object; no byte of it in the range that was asked for; and one that is not what was
expected, or will not be in a moment."""


@dataclass(frozen=True)
class Version:
    """An object as it was read or written: its bytes, and what the store calls this version."""

    data: bytes
    tag: str


class Swaps(Protocol):
    """Reads and writes whole objects of one kind of store, in one request each: Beam's file systems
    need two to read and three to write. Errors of the store are InputErrors."""

    def put(self, uri: str, data: bytes) -> None:
        """Write an object, whatever was there."""

    def load(self, uri: str, most_bytes: int | None = None) -> Version | None:
        """The object as it is now; None where there is none. InputError where it has more than
        `most_bytes`: no more of it is read."""

    def swap(self, uri: str, data: bytes, before: Version | None) -> Version | None:
        """Write an object that must still be as it was before: None, and nothing is written, where
        it is not. before: None where there must be no such object.

        A request that was answered too late is sent again by its client, and finds its own bytes
        there: that counts as written. So what two writers write must differ.
        """


def swaps_for(uri: str) -> Swaps | None:
    """What writes to the store that an object is in; None where copydetect has no such thing for
    it."""
    return _SWAPS.get(uri.partition("://")[0])


class _S3Swaps:
    def put(self, uri: str, data: bytes) -> None:
        with remote_errors("write", uri):
            _s3_client(uri).put_object(**_s3_place(uri), Body=data)

    def load(self, uri: str, most_bytes: int | None = None) -> Version | None:
        with remote_errors("read", uri):
            try:
                answer = _s3_client(uri).get_object(**_s3_place(uri))
            except Exception as error:
                if status_of(error) == _GONE:
                    return None
                raise
            with closing(answer["Body"]) as body:
                if most_bytes is not None and answer["ContentLength"] > most_bytes:
                    raise too_large(uri, most_bytes)
                return Version(body.read(), answer["ETag"])

    def swap(self, uri: str, data: bytes, before: Version | None) -> Version | None:
        condition = {"IfMatch": before.tag} if before else {"IfNoneMatch": "*"}
        with remote_errors("write", uri):
            try:
                answer = _s3_client(uri).put_object(**_s3_place(uri), Body=data, **condition)
            except Exception as error:
                if _is_conflict(error, before):
                    return _if_ours(self, uri, data)
                raise
            return Version(data, answer["ETag"])


class _GoogleSwaps:
    def put(self, uri: str, data: bytes) -> None:
        blob, retry = _blob(uri)
        with remote_errors("write", uri):
            # Whoever sends it again, after no answer, sends the same.
            blob.upload_from_string(data, retry=retry)

    def load(self, uri: str, most_bytes: int | None = None) -> Version | None:
        blob, retry = _blob(uri)
        with remote_errors("read", uri):
            try:
                # The generation that comes with the bytes is theirs, whoever writes meanwhile.
                data = bytes(blob.download_as_bytes(end=most_bytes, retry=retry))
            except Exception as error:
                if status_of(error) == _GONE:
                    return None
                if status_of(error) != _NOTHING_THERE:
                    raise
                data = b""
            if most_bytes is not None and len(data) > most_bytes:
                raise too_large(uri, most_bytes)
            return Version(data, str(blob.generation))

    def swap(self, uri: str, data: bytes, before: Version | None) -> Version | None:
        blob, retry = _blob(uri)
        with remote_errors("write", uri):
            try:
                generation = int(before.tag) if before else 0
                blob.upload_from_string(data, if_generation_match=generation, retry=retry)
            except Exception as error:
                if _is_conflict(error, before):
                    return _if_ours(self, uri, data)
                raise
            return Version(data, str(blob.generation))


_SWAPS: dict[str, Swaps] = {"s3": _S3Swaps(), "gs": _GoogleSwaps()}


def _is_conflict(error: Exception, before: Version | None) -> bool:
    status = status_of(error)
    return status in _CONFLICTS or (status == _GONE and before is not None)


def _if_ours(swaps: Swaps, uri: str, data: bytes) -> Version | None:
    """The object where it is what was to be written; else None."""
    found = swaps.load(uri)
    return found if found is not None and found.data == data else None


def _s3_client(uri: str) -> Any:
    """The client of boto3 that Beam's file system asks."""
    from apache_beam.io.aws.s3io import S3IO

    files: Any = file_systems().get_filesystem(uri)
    return S3IO(options=files._options).client.client


def _s3_place(uri: str) -> dict[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def _blob(uri: str) -> tuple[Any, Any]:
    """An object of Google's storage, by the client that Beam's file system asks, and when that is
    asked again."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    with remote_errors("open", uri):
        files: Any = file_systems().get_filesystem(uri)
        asked = files._gcsIO()
        return asked.client.bucket(bucket).blob(name), asked._storage_client_retry
