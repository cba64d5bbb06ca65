"""Buckets: what a job needs of them, against an S3 server of this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from copydetect.inputs.finding import find_sources
from copydetect.options import EngineOptions
from copydetect.pipelines.engine import engine_of
from copydetect.storage.remote import BeamStorage

boto3 = pytest.importorskip("boto3")
server = pytest.importorskip("moto.server")

BUCKET = "pile"
KEYS = {"aws_access_key_id": "someone", "aws_secret_access_key": "secret"}


@pytest.fixture
def storage() -> Iterator[BeamStorage]:
    """The storage of a job that was told where its bucket is."""
    service = server.ThreadedMotoServer(port=0)
    service.start()
    host, port = service.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **KEYS)
    client.create_bucket(Bucket=BUCKET)
    flags = [f"--s3_{name.removeprefix('aws_')}={value}" for name, value in KEYS.items()]
    engine_of(
        EngineOptions((f"--s3_endpoint_url={endpoint}", "--s3_region_name=us-east-1", *flags))
    )
    yield BeamStorage()
    service.stop()
    engine_of(EngineOptions())


def test_options_reach_a_bucket_before_any_stage_runs(storage: BeamStorage) -> None:
    folder = f"s3://{BUCKET}/photos"
    assert not storage.exists(f"{folder}/a.jpg")
    storage.write(f"{folder}/a.jpg", b"not quite a picture")
    assert storage.exists(f"{folder}/a.jpg")
    assert storage.read(f"{folder}/a.jpg") == b"not quite a picture"
    assert [file.uri for file in storage.files_under(folder)] == [f"{folder}/a.jpg"]
    assert find_sources(storage, folder).file_count == 1
    storage.delete(folder)
    assert not storage.exists(f"{folder}/a.jpg")
