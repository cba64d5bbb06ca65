"""Leases of places in a bucket: one holder, who is told when it is no longer the one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from copydetect.errors import TransientError
from copydetect.json_values import parse_as
from copydetect.pipelines.outputs import alone_in
from copydetect.storage.leases import BucketLease, Holder, _process_space, leased
from copydetect.storage.remote import RecordedStorage
from tests import stores
from tests.stores import Bucket


@pytest.fixture(params=["amazon", "google"], scope="module")
def bucket(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    with getattr(stores, request.param)() as one:
        yield one


@pytest.fixture
def out(bucket: Bucket, request: pytest.FixtureRequest) -> str:
    return f"{bucket.uri}/{request.node.originalname}"


def _said(bucket: Bucket, out: str) -> Holder:
    return parse_as(Holder, bucket.storage.read(f"{out}/.copydetect/lease"))


def _held_by(bucket: Bucket, out: str, **values: object) -> None:
    """Another process holds a place for a minute, unless values say otherwise."""
    holder = Holder(7, time.time() + 60, "elsewhere", "", 12, "another")
    uri = f"{out}/.copydetect/lease"
    bucket.storage.write(uri, replace(holder, **values).to_json())  # type: ignore[arg-type]


def test_a_place_has_one_holder_and_is_free_afterwards(bucket: Bucket, out: str) -> None:
    with alone_in(out) as lease:
        assert lease is not None
        assert lease.token == 1
        lease.check()
        held = _said(bucket, out)
        assert (held.host, held.process, held.token) == (platform.node(), os.getpid(), 1)
        assert 60 < held.until - time.time() <= 120
    assert _said(bucket, out).until == 0
    with alone_in(out) as lease:
        assert lease is not None
        assert lease.token == 2


def test_a_place_that_is_held_elsewhere_is_refused(bucket: Bucket, out: str) -> None:
    _held_by(bucket, out)
    with (
        pytest.raises(TransientError, match=r"process 12 on elsewhere.*free in \d+ s"),
        alone_in(out),
    ):
        pytest.fail("there were two")
    assert _said(bucket, out).host == "elsewhere"


def test_a_lease_that_has_run_out_is_taken_over(bucket: Bucket, out: str) -> None:
    _held_by(bucket, out, until=time.time() - 1)
    with alone_in(out) as lease:
        assert lease is not None
        assert lease.token == 8


def test_what_a_process_that_was_killed_here_held_is_free_at_once(bucket: Bucket, out: str) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = {"host": platform.node(), "space": _process_space()}
    _held_by(bucket, out, process=os.getppid(), **here)
    with pytest.raises(TransientError), alone_in(out):
        pytest.fail("there were two")
    _held_by(bucket, out, process=ended.pid, **here)
    with alone_in(out) as lease:
        assert lease is not None


def test_damage_does_not_lock_a_place_for_ever(bucket: Bucket, out: str) -> None:
    bucket.storage.write(f"{out}/.copydetect/lease", b"{")
    with alone_in(out) as lease:
        assert lease is not None


def test_a_holder_that_was_silent_for_too_long_commits_nothing(bucket: Bucket, out: str) -> None:
    storage = RecordedStorage(out)
    with alone_in(out) as lease:
        assert lease is not None
        lease.write(storage, f"{out}/manifest.json", b"before")
        assert storage.is_whole(f"{out}/manifest.json")
        _held_by(bucket, out)
        with pytest.raises(TransientError, match="taken over"):
            lease.write(storage, f"{out}/manifest.json", b"too late")
        with pytest.raises(TransientError, match="taken over"):
            lease.check()
    assert storage.read(f"{out}/manifest.json") == b"before"
    assert _said(bucket, out).host == "elsewhere"


def test_a_file_that_another_has_just_written_stays(
    bucket: Bucket, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder may be paused between its last look at the lease and its write."""
    storage, uri = RecordedStorage(out), f"{out}/manifest.json"
    monkeypatch.setattr(BucketLease, "check", lambda _: storage.write(uri, b"of another"))
    with alone_in(out) as lease:
        assert lease is not None
        with pytest.raises(TransientError, match=r"another run has written .*manifest\.json"):
            lease.write(storage, uri, b"too late")
    assert storage.read(uri) == b"of another"
    assert storage.is_whole(uri)


def test_a_lease_is_renewed_while_its_holder_lives(bucket: Bucket, out: str) -> None:
    uri = f"{out}/lease"
    with leased(out, uri, seconds=1.0):
        first = parse_as(Holder, bucket.storage.read(uri))
        time.sleep(1.5)
        later = parse_as(Holder, bucket.storage.read(uri))
        assert later.until > time.time() > first.until


def test_a_store_without_conditional_writes_gives_no_lease() -> None:
    with alone_in("made-up://bucket/out") as lease:
        assert lease is None
