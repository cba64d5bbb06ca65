"""Buckets: what a job needs of them, against servers of this machine."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from copydetect.description.descriptors import load_model
from copydetect.errors import InputError, ModelError
from copydetect.inputs.finding import find_sources
from copydetect.inputs.sources import read_source
from copydetect.models import MODELS
from copydetect.options import EngineOptions
from copydetect.pipelines.commands import dedup, match
from copydetect.pipelines.engine import engine_of
from copydetect.runs import Manifest
from copydetect.storage.clients import share_s3_clients
from copydetect.storage.remote import BeamStorage
from tests import stores
from tests.conftest import BROKEN, TWIN, Planted, Run, dedup_run
from tests.counting_proxy import kind_of
from tests.stores import Bucket

CLOSED = "closed"
FAST = ("--effort=fast", "--channels=descriptor,local")
FEW = ("0.jpg", "3.jpg", "5.jpg", "copies/cropped.jpg", "copies/cropped again.jpg", TWIN, BROKEN)
"""Planted pictures of two groups, and one that fails: a run asks for few more of a thousand."""


def _refuse(number: int, method: str, path: str) -> int:
    """A bucket that nobody may open, and one that is busy at every second request."""
    if path.startswith(f"/{CLOSED}"):
        return 403
    return 503 if "/busy/" in path and number % 2 else 0


@pytest.fixture(scope="module")
def one_for_all() -> Iterator[Bucket]:
    with stores.amazon(_refuse) as one:
        yield one


@pytest.fixture
def bucket(one_for_all: Bucket) -> Bucket:
    engine_of(EngineOptions(one_for_all.flags))
    return one_for_all


@pytest.fixture(params=[stores.amazon, stores.google], ids=["amazon", "google"])
def store(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    with request.param() as one:
        yield one


def test_options_reach_a_bucket_before_any_stage_runs(bucket: Bucket) -> None:
    storage = BeamStorage()
    folder = f"{bucket.uri}/photos"
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
        storage.write(f"{bucket.uri}/busy/{name}", name.encode())
        assert storage.read(f"{bucket.uri}/busy/{name}") == name.encode()
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
    sources = find_sources(storage, f"{bucket.uri}/shards/0.tar")
    pieces = [list(read_source(storage, piece, "image")) for piece in sources.pieces]
    assert len([content for piece in pieces for content in piece]) == 4


def _run(store: Bucket, command: Callable[[list[str]], int], *inputs: str) -> Manifest:
    argv = [*inputs, "--output", f"{store.uri}/out", "--workers=1", "--quiet", "--no_report"]
    assert command([*argv, "--max_failed_fraction=0.5", *FAST, *store.flags]) == 0
    return Manifest.load(BeamStorage(), f"{store.uri}/out")


def _dedup(store: Bucket) -> Manifest:
    argv = [f"{store.uri}/photos", f"--model={store.uri}/models/mine.safetensors"]
    argv += [f"--background={store.uri}/models/strangers.safetensors"]
    argv += [f"--calibration={store.uri}/models/certain.json"]
    return _run(store, dedup.main, *argv)


def _rows(store: Bucket, manifest: Manifest, name: str) -> list[dict[str, object]]:
    table = manifest.table(BeamStorage(), f"{store.uri}/out", name)
    return sorted(
        (
            {key: value for key, value in row.items() if not key.endswith("uri")}
            for row in table.to_pylist()
        ),
        key=repr,
    )


MODEL_FILES = {
    "mine.safetensors": "descriptor-lite0.safetensors",
    "mine.json": "descriptor-lite0.json",
    "mine.onnx": "descriptor-lite0.onnx",
    "strangers.safetensors": "descriptor-lite0.background.safetensors",
    "certain.json": "calibration-dedup-descriptor-local.json",
}


def test_a_run_in_a_bucket_gives_the_same_tables_and_goes_on(
    store: Bucket, planted: Planted, tmp_path: Path
) -> None:
    """With its model, background and calibration there too; also when it has been ended before its
    end."""
    for name in FEW:
        store.put(f"photos/{name}", (planted.folder / name).read_bytes())
        target = tmp_path / "photos" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(planted.folder / name, target)
    for name, bundled in MODEL_FILES.items():
        store.put(f"models/{name}", (MODELS / bundled).read_bytes())
    calibration = MODELS / MODEL_FILES["certain.json"]
    here = f"--calibration={calibration}"
    run = dedup_run(tmp_path / "photos", tmp_path / "out", *FAST, here)
    store.counts.kinds.clear()
    manifest = _dedup(store)
    asked = store.counts.kinds.total()
    for name, rows in run.results().items():
        # As text: what was not found by descriptors has no similarity, and no nan equals another.
        assert list(map(repr, _rows(store, manifest, name))) == list(map(repr, rows))
    # Beam asks Google's storage before it reads, and whether there is more to list.
    assert asked < (850 if store.uri.startswith("s3:") else 1400), store.counts.kinds
    storage = BeamStorage()
    storage.delete(f"{store.uri}/out/manifest.json")
    storage.delete(f"{store.uri}/out/{manifest.folder}/groups")
    store.counts.kinds.clear()
    again = _dedup(store)
    assert _rows(store, again, "groups") == _rows(store, manifest, "groups")
    assert store.counts.kinds["write"] < asked / 3
    assert storage.count([f"{store.uri}/photos/{name}" for name in FEW]) == len(FEW)


@pytest.mark.parametrize("store", [stores.google], indirect=True)
def test_a_match_in_a_bucket_gives_the_same_tables(
    store: Bucket, planted: Planted, tmp_path: Path
) -> None:
    sides = {"queries": FEW[3:], "references": FEW[:3]}
    for side, names in sides.items():
        for name in names:
            data = (planted.folder / name).read_bytes()
            store.put(f"{side}/{name}", data)
            (tmp_path / side / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / side / name).write_bytes(data)
    inputs = [word for side in sides for word in (f"--{side}", f"{store.uri}/{side}")]
    manifest = _run(store, match.main, *inputs)
    here = [word for side in sides for word in (f"--{side}", str(tmp_path / side))]
    out = str(tmp_path / "out")
    argv = [*here, "--output", out, "--workers=1", "--quiet", "--no_report", *FAST]
    assert match.main([*argv, "--max_failed_fraction=0.5"]) == 0
    run = Run(tmp_path / "out", Manifest.load(BeamStorage(), out))
    for name, rows in run.results().items():
        assert list(map(repr, _rows(store, manifest, name))) == list(map(repr, rows))
    assert manifest.counts["matches"]


def test_a_model_that_is_not_in_its_bucket_is_named(bucket: Bucket) -> None:
    uri = f"{bucket.uri}/models/none.safetensors"
    with pytest.raises(ModelError, match=r"none\.safetensors.*no such file"):
        load_model(uri)


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
