"""Buckets: what a job needs of them, against an S3 server of this machine."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from copydetect.errors import InputError
from copydetect.inputs.finding import find_sources
from copydetect.inputs.sources import read_source
from copydetect.options import EngineOptions
from copydetect.pipelines.benchmarks.counting_proxy import Counted, counted, kind_of
from copydetect.pipelines.commands import dedup
from copydetect.pipelines.engine import engine_of
from copydetect.runs import Manifest
from copydetect.storage.clients import share_s3_clients
from copydetect.storage.remote import BeamStorage
from tests.conftest import Planted, dedup_run

boto3 = pytest.importorskip("boto3")
server = pytest.importorskip("moto.server")

BUCKET, CLOSED = "pile", "closed"
KEYS = {"aws_access_key_id": "someone", "aws_secret_access_key": "secret"}


def _refuse(number: int, method: str, path: str) -> int:
    """A bucket that nobody may open, and one that is busy at every second request."""
    if path.startswith(f"/{CLOSED}"):
        return 403
    return 503 if "/busy/" in path and number % 2 else 0


@dataclass(frozen=True)
class Bucket:
    """A bucket, what has been asked of its store, and the options that lead there."""

    counts: Counted
    client: Any
    flags: tuple[str, ...]

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    service = server.ThreadedMotoServer(port=0, verbose=False)
    service.start()
    with counted(f"127.0.0.1:{service.get_host_and_port()[1]}", _refuse) as counts:
        client = boto3.client("s3", endpoint_url=counts.url, region_name="us-east-1", **KEYS)
        client.create_bucket(Bucket=BUCKET)
        keys = (f"--s3_{name.removeprefix('aws_')}={value}" for name, value in KEYS.items())
        flags = (f"--s3_endpoint_url={counts.url}", "--s3_region_name=us-east-1", *keys)
        engine_of(EngineOptions(flags))
        yield Bucket(counts, client, flags)
    service.stop()
    engine_of(EngineOptions())


def test_options_reach_a_bucket_before_any_stage_runs(bucket: Bucket) -> None:
    storage = BeamStorage()
    folder = f"s3://{BUCKET}/photos"
    assert not storage.exists(f"{folder}/a.jpg")
    storage.write(f"{folder}/a.jpg", b"not quite a picture")
    assert storage.exists(f"{folder}/a.jpg")
    assert storage.read(f"{folder}/a.jpg") == b"not quite a picture"
    assert [file.uri for file in storage.files_under(folder)] == [f"{folder}/a.jpg"]
    assert storage.count([f"{folder}/{name}.jpg" for name in "ab"]) == 1
    assert find_sources(storage, folder).file_count == 1
    storage.delete(folder)
    assert not storage.exists(f"{folder}/a.jpg")


def test_a_bucket_that_is_closed_is_told_in_one_sentence(bucket: Bucket) -> None:
    storage = BeamStorage()
    uri = f"s3://{CLOSED}/photos/a.jpg"
    tries = {
        "list": lambda: storage.files_under(f"s3://{CLOSED}/photos"),
        "read": lambda: storage.read(uri),
        "write": lambda: storage.write(uri, b"data"),
    }
    for verb, attempt in tries.items():
        with pytest.raises(InputError, match=r"these credentials may not do that") as caught:
            attempt()
        said = str(caught.value)
        assert said.startswith(f"cannot {verb} s3://{CLOSED}/photos")
        assert "\n" not in said


def test_a_bucket_that_is_busy_now_and_then_is_asked_again(bucket: Bucket) -> None:
    storage = BeamStorage()
    for name in "abc":
        storage.write(f"s3://{BUCKET}/busy/{name}", name.encode())
        assert storage.read(f"s3://{BUCKET}/busy/{name}") == name.encode()
    assert bucket.counts.refused >= 3


def test_all_calls_of_a_process_share_one_client(bucket: Bucket) -> None:
    from apache_beam.io.aws.clients.s3.boto3_client import Client
    from apache_beam.options.pipeline_options import PipelineOptions

    share_s3_clients()
    options = PipelineOptions(list(bucket.flags))
    first, second = Client(options), Client(options)
    other = Client(PipelineOptions([*bucket.flags, "--s3_disable_ssl"]))
    assert first.client is second.client
    assert other.client is not first.client


def test_shards_in_a_bucket_are_read_as_on_a_disk(bucket: Bucket, planted: Planted) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in planted.names[:4]:
            tar.add(planted.folder / name, name)
    bucket.put("shards/0.tar", stream.getvalue())
    storage = BeamStorage()
    sources = find_sources(storage, f"s3://{BUCKET}/shards/0.tar")
    pieces = [list(read_source(storage, piece, "image")) for piece in sources.pieces]
    assert len([content for piece in pieces for content in piece]) == 4


def _dedup(bucket: Bucket) -> Manifest:
    argv = [f"s3://{BUCKET}/photos", "--output", f"s3://{BUCKET}/out", "--workers=1", "--quiet"]
    argv += ["--max_failed_fraction=0.5", "--no_report", "--effort=fast", *bucket.flags]
    assert dedup.main(argv) == 0
    return Manifest.load(BeamStorage(), f"s3://{BUCKET}/out")


def _rows(manifest: Manifest, name: str) -> list[dict[str, object]]:
    table = manifest.table(BeamStorage(), f"s3://{BUCKET}/out", name)
    return sorted(
        (
            {key: value for key, value in row.items() if not key.endswith("uri")}
            for row in table.to_pylist()
        ),
        key=repr,
    )


def test_a_run_in_a_bucket_gives_the_same_tables_and_goes_on(
    bucket: Bucket, planted: Planted, tmp_path: Path
) -> None:
    """Also when a run has been ended before its end."""
    for name in planted.names:
        bucket.put(f"photos/{name}", (planted.folder / name).read_bytes())
    run = dedup_run(planted.folder, tmp_path / "out", "--effort=fast", *bucket.flags)
    bucket.counts.kinds.clear()
    manifest = _dedup(bucket)
    asked = bucket.counts.kinds.total()
    for name, rows in run.results().items():
        # As text: what was not found by descriptors has no similarity, and no nan equals another.
        assert list(map(repr, _rows(manifest, name))) == list(map(repr, rows))
    assert asked < 1_200, bucket.counts.kinds
    storage = BeamStorage()
    storage.delete(f"s3://{BUCKET}/out/manifest.json")
    storage.delete(f"s3://{BUCKET}/out/{manifest.folder}/groups")
    bucket.counts.kinds.clear()
    again = _dedup(bucket)
    assert _rows(again, "groups") == _rows(manifest, "groups")
    assert bucket.counts.kinds["write"] < asked / 3
    assert storage.count([f"s3://{BUCKET}/photos/{name}" for name in planted.names]) == len(
        planted.names
    )


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/pile?list-type=2&prefix=a", "list"),
        ("GET", "/pile/a.jpg", "read"),
        ("HEAD", "/pile/a.jpg", "look"),
        ("POST", "/pile?delete", "delete"),
        ("PUT", "/pile/a.jpg?partNumber=1", "write"),
        ("GET", "/storage/v1/b/pile/o?prefix=a", "list"),
        ("GET", "/storage/v1/b/pile/o/a.jpg", "look"),
        ("GET", "/download/storage/v1/b/pile/o/a.jpg?alt=media", "read"),
        ("POST", "/upload/storage/v1/b/pile/o?uploadType=resumable", "write"),
        ("DELETE", "/storage/v1/b/pile/o/a.jpg", "delete"),
    ],
)
def test_requests_are_counted_by_what_they_do(method: str, path: str, kind: str) -> None:
    assert kind_of(method, path) == kind
