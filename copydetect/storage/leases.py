"""The right to write to a place of a bucket: held by one process, renewed while it lives.

A lease is a small object with a time until which it is held. Whoever finds it free or run out takes
it by a conditional write, which only one can; its number then grows. The holder renews it a few
times before it runs out, by conditional writes as well: one that was paused for too long, and whose
place another process has taken, is told so before it commits anything (Gray and Cheriton, Leases,
1989; the number is the fencing token). Clocks decide only who waits, never who may commit.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from copydetect.errors import InputError, TransientError
from copydetect.json_values import parse_as
from copydetect.storage.files import Storage
from copydetect.storage.swaps import Swaps, Version, swaps_for

LEASE_SECONDS = 120.0
_RENEWALS = 4
"""Tries to renew a lease before it runs out."""


@dataclass(frozen=True)
class Holder:
    """What the object of a lease says.

    until: seconds since 1970, 0 where it has been given back; token: how often it was taken; host,
    space, process: who holds it, space being that of process numbers on the host; name: of this
    holding alone.
    """

    token: int
    until: float
    host: str
    space: str
    process: int
    name: str

    def to_json(self) -> bytes:
        """As the object holds it."""
        return json.dumps(asdict(self)).encode()

    @property
    def is_gone(self) -> bool:
        """Whether it can hold no longer: time is over, or it was a process here that has ended."""
        if self.until <= time.time():
            return True
        if (self.host, self.space) != (platform.node(), _process_space()):
            return False
        # A process has one holding of a place at a time: another one of this number was before it.
        return self.process == os.getpid() or not os.path.exists(f"/proc/{self.process}")


class BucketLease:
    """The right to write to a place, as long as `check` says so; see `leased`."""

    def __init__(
        self, place: str, uri: str, swaps: Swaps, holder: Holder, version: Version, seconds: float
    ) -> None:
        self._place, self._uri, self._swaps = place, uri, swaps
        self._holder, self._version, self._seconds = holder, version, seconds
        self._lost = False
        self._lock = threading.Lock()

    @property
    def token(self) -> int:
        """Grows with each process that takes the lease."""
        return self._holder.token

    def check(self) -> None:
        """Renew the lease; TransientError where another process has taken it meanwhile."""
        with self._lock:
            if not self._lost:
                self._write(time.time() + self._seconds)
            if self._lost:
                raise TransientError(
                    f"another run has taken over {self._place}, since this one was silent for too "
                    "long: nothing was committed; run it again"
                )

    def write(self, storage: Storage, uri: str, data: bytes) -> None:
        """Replace or create a file of the place; TransientError, and nothing is written, where
        another process has taken the place meanwhile, or has just written the file."""
        before = self._swaps.load(uri)
        self.check()
        if self._swaps.swap(uri, data, before) is None:
            raise TransientError(f"another run has written {uri} meanwhile: run it again")
        storage.note(uri, data)

    def renew_until(self, stop: threading.Event) -> None:
        """Renew it until the event is set, or it is lost. A store that does not answer is asked
        again."""
        while not self._lost and not stop.wait(self._seconds / _RENEWALS):
            with self._lock, contextlib.suppress(InputError):
                self._write(time.time() + self._seconds)

    def give_back(self) -> None:
        """Let the next one have it at once."""
        with self._lock, contextlib.suppress(InputError):
            if not self._lost:
                self._write(0.0)

    def _write(self, until: float) -> None:
        self._holder = replace(self._holder, until=until)
        version = self._swaps.swap(self._uri, self._holder.to_json(), self._version)
        if version is None:
            self._lost = True
        else:
            self._version = version


@contextlib.contextmanager
def leased(place: str, uri: str, seconds: float = LEASE_SECONDS) -> Iterator[BucketLease | None]:
    """Hold the lease of a place in a bucket; TransientError where another process holds it.

    uri: of the lease's object; seconds: how long it is held without a sign of life. None where the
    store has no conditional writes that copydetect knows.
    """
    swaps = swaps_for(uri)
    if swaps is None:
        yield None
        return
    found = swaps.load(uri)
    before = _parsed(found)
    if before is not None and not before.is_gone:
        raise TransientError(
            f"another run is writing to {place}: process {before.process} on {before.host}. If it "
            f"has ended, this is free in {max(1, round(before.until - time.time()))} s"
        )
    holder = Holder(
        token=before.token + 1 if before else 1,
        until=time.time() + seconds,
        host=platform.node(),
        space=_process_space(),
        process=os.getpid(),
        name=uuid.uuid4().hex,
    )
    version = swaps.swap(uri, holder.to_json(), found)
    if version is None:
        raise TransientError(f"another run has just begun to write to {place}")
    lease = BucketLease(place, uri, swaps, holder, version, seconds)
    stop = threading.Event()
    renewing = threading.Thread(target=lease.renew_until, args=(stop,), daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        stop.set()
        renewing.join()
        lease.give_back()


def _parsed(version: Version | None) -> Holder | None:
    """What an object says; None where there is none, or it is damaged."""
    try:
        return parse_as(Holder, version.data) if version else None
    except ValueError:
        return None


def _process_space() -> str:
    """Tells containers apart that have the name of a host in common; "" where there is no such
    thing."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
