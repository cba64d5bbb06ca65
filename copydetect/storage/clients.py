"""Clients of object stores: what they are told, one for all calls, their errors in a sentence."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from copydetect.errors import InputError
from copydetect.quiet_imports import quiet_imports

if TYPE_CHECKING:
    from apache_beam.io.filesystems import FileSystems

_NO_CLIENT = (ValueError, ImportError, AttributeError, TypeError)
_NOT_ALLOWED = (401, 403)
_PATIENCE_SECONDS = 60.0
_SILENT: dict[str, str] = {}
"""Buckets that have not answered, and what their clients said."""
_KEPT: dict[tuple[int, int], tuple[Any, dict[str, Any]]] = {}
"""What a client of S3 was told and what it holds when it is new, by its process and the identity of
what it was told, which is one object for all calls."""
_MAKING = threading.Lock()
_OF_THREAD = threading.local()
"""Clients of Google's storage, likewise."""


@lru_cache(maxsize=1)
def file_systems() -> type[FileSystems]:
    """Beam's file systems, loaded when a bucket is first asked for: that takes a second."""
    with quiet_imports():
        from apache_beam.io.filesystems import FileSystems
    return FileSystems


def reach_with(flags: Sequence[str]) -> None:
    """Tell Beam's file systems its options, such as the address of a bucket, in this process."""
    from apache_beam.options.pipeline_options import PipelineOptions

    file_systems().set_options(PipelineOptions(list(flags)))


def as_told_here() -> Callable[[], None]:
    """What has another process reach buckets as this one does, which Beam has told its options."""
    options = getattr(file_systems(), "_pipeline_options", None)
    told = options.get_all_options(drop_default=True) if options is not None else {}
    return partial(_reach_as, told)


def _reach_as(told: Mapping[str, Any]) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    file_systems().set_options(PipelineOptions.from_dictionary(dict(told)))


@contextlib.contextmanager
def remote_errors(verb: str, uri: str) -> Iterator[None]:
    """Each client has its own errors; one that is missing is told by nearly any of them.

    Clients try for minutes before they give up. A bucket that has not answered for so long is not
    asked again by this process: else a manifest of its files would take for ever.
    """
    bucket = "/".join(uri.split("/")[:3])
    if uri.startswith("s3://"):
        _refuse_without_credentials(verb, uri)
        share_s3_clients()
    elif uri.startswith("gs://"):
        share_google_clients()
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
        said = _said(error)
        if time.monotonic() - started > _PATIENCE_SECONDS:
            _SILENT[bucket] = said
        trouble = error if isinstance(error, OSError) else OSError(said)
        raise InputError(f"cannot {verb} {uri}: {said}") from trouble


def status_of(error: BaseException) -> int:
    """The HTTP status that a store has answered with, out of the error of its client; 0 where it
    has not."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # of boto3
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = getattr(error, "code", None)
    return int(code) if isinstance(code, int) else 0


def _said(error: Exception) -> str:
    """What a store has answered, out of what Beam's file systems wrap it in."""
    cause: Any = error
    while details := getattr(cause, "exception_details", None):
        cause = next(iter(details.values()))
    text = " ".join(str(getattr(cause, "message", "") or cause).split())
    if status_of(cause) in _NOT_ALLOWED:
        return f"{text} (these credentials may not do that, or there are none)"
    return text


def _refuse_without_credentials(verb: str, uri: str) -> None:
    """InputError where S3 would be asked without credentials: its client tries for minutes."""
    if not _has_s3_credentials():
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
    options = getattr(file_systems(), "_pipeline_options", None)
    given = options is not None and options.get_all_options().get("s3_access_key_id")
    return bool(given) or boto3.Session().get_credentials() is not None


@lru_cache(maxsize=1)
def share_s3_clients() -> None:
    """Have Beam's S3 use one client of boto3 in a process: it makes one for every call, which takes
    .2 s of CPU. Clients may be shared by threads, and not by processes."""
    try:
        from apache_beam.io.aws.clients.s3 import boto3_client
    except ImportError:
        return
    kind: Any = boto3_client.Client
    make = kind.__init__

    def shared(client: Any, options: Any) -> None:
        told = os.getpid(), id(options)
        with _MAKING:
            if told not in _KEPT:
                make(client, options)
                _KEPT[told] = options, dict(vars(client))
            vars(client).update(_KEPT[told][1])

    kind.__init__ = shared


@lru_cache(maxsize=1)
def share_google_clients() -> None:
    """Have Beam use one client of Google's storage in a thread: it makes one for every call, and
    with it a connection. An emulator is asked without credentials: looking for them takes 20 s
    where there are none."""
    try:
        from apache_beam.internal.gcp import auth
        from apache_beam.io.gcp import gcsfilesystem
    except ImportError:
        return
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        auth._Credentials._credentials_init = True
    kind: Any = gcsfilesystem.GCSFileSystem
    make = kind._gcsIO

    def shared(files: Any) -> Any:
        host = os.environ.get("STORAGE_EMULATOR_HOST")
        told = os.getpid(), id(files._pipeline_options), host
        if getattr(_OF_THREAD, "told", None) != told:
            # The options are kept, so that no others get their identity.
            _OF_THREAD.kept = files._pipeline_options, make(files)
            _OF_THREAD.told = told
        return _OF_THREAD.kept[1]

    kind._gcsIO = shared
