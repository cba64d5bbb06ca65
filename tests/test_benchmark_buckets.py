"""`copydetect benchmark buckets`: a run in a bucket, and what it asks of the store."""

from __future__ import annotations

import json

import pytest

from copydetect.pipelines.benchmarks.buckets import table
from copydetect.pipelines.commands import benchmark
from copydetect.pipelines.exit_codes import BAD_ARGUMENTS
from tests import stores
from tests.conftest import Planted


def test_requests_of_a_run_are_counted(
    planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    with stores.amazon() as bucket:
        for name in planted.names[:4]:
            bucket.put(f"photos/{name}", (planted.folder / name).read_bytes())
        words = [f"{bucket.uri}/photos", "--output", f"{bucket.uri}/out", "--workers=1"]
        assert benchmark.main(["buckets", *words, *bucket.flags]) == 0
        told, _, figures = capsys.readouterr().out.partition("\n{")
        found = json.loads("{" + figures)
        assert found["images"] == 4
        assert found["requests"]["write"] > 4
        assert told == table(found["requests"], 4)
        assert sum(found["requests"].values()) <= bucket.counts.kinds.total()


def test_requests_are_told_per_thousand_images() -> None:
    rows = table({"read": 6, "write": 30}, 12).splitlines()
    assert rows[-3:] == [
        "| write | 30 | 2,500 |",
        "| read | 6 | 500 |",
        "| together | 36 | 3,000 |",
    ]


def test_a_store_must_be_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    assert benchmark.main(["buckets", "s3://pile/photos", "-o", "s3://pile/out"]) == BAD_ARGUMENTS
    assert "--s3_endpoint_url" in capsys.readouterr().err
