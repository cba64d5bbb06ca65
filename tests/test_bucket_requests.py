"""A run in a bucket, and what it asks of the store."""

from __future__ import annotations

import pytest

from copydetect.errors import OptionError
from tests import stores
from tests.bucket_requests import requests_of
from tests.conftest import Planted


def test_requests_of_a_run_are_counted(planted: Planted) -> None:
    with stores.amazon() as bucket:
        for name in planted.names[:4]:
            bucket.put(f"photos/{name}", (planted.folder / name).read_bytes())
        words = [f"{bucket.uri}/photos", f"{bucket.uri}/out", ["--workers=1", *bucket.flags]]
        found = requests_of(*words)
        assert found.pop("images") == 4
        assert found["write"] > 4
        assert sum(found.values()) <= bucket.counts.kinds.total()


def test_a_store_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    with pytest.raises(OptionError, match="--s3_endpoint_url"):
        requests_of("s3://pile/photos", "s3://pile/out", [])
