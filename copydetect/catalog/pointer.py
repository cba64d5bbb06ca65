"""The pointer to the last generation of a catalogue, and the lease of the process that may add the
next.

The pointer is a file that is replaced in one step, so that a reader sees one generation or the
other. A process that works on a catalogue holds its lease: in a local folder a lock that the system
frees when the process ends, in a bucket an object that is renewed while it lives; and a number that
only grows. The pointer moves only where it still points to the
generation that the night began with, and the lease's number is still the night's own: a night that
was taken for dead, or that works over a network file system without locks, cannot overwrite what
came after it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Protocol

from copydetect import runs
from copydetect.catalog.generations import MANIFEST, Generation, generation_name
from copydetect.errors import CatalogBusyError, InputError, RunError, TransientError
from copydetect.json_values import parse_as
from copydetect.storage import leases
from copydetect.storage.files import LocalStorage, Storage
from copydetect.storage.locks import locked
from copydetect.storage.records import remove_unfinished
from copydetect.storage.remote import RecordedStorage
from copydetect.storage.swaps import swaps_for

POINTER = "catalog.json"
FORMAT = 4
_LEASE, _LOCK = "lease.json", "lease.lock"


@dataclass(frozen=True)
class Pointer:
    """Where the last generation is.

    numbers, group_ids, events: how many were given by any generation, one that was rolled back
    included, so that none is given twice; highest: number of the newest generation there ever was;
    check: SHA-256 of all other fields, so that a damaged pointer is not followed.
    """

    generation: int
    manifest: str
    sha256: str
    numbers: int
    group_ids: int
    events: int
    highest: int
    token: int
    format: int = FORMAT
    check: str = ""

    def to_json(self) -> bytes:
        """As CAT/catalog.json holds it."""
        return json.dumps({**asdict(self), "check": self._digest()}, indent=1).encode()

    def _digest(self) -> str:
        fields = {**asdict(self), "check": ""}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @staticmethod
    def load(storage: Storage, folder: str) -> Pointer | None:
        """Read CAT/catalog.json; None where there is no catalogue, InputError where it is none or
        of another version, RunError where it is damaged."""
        uri = runs.join(folder, POINTER)
        if not storage.exists(uri):
            return None
        try:
            found = parse_as(Pointer, storage.read(uri))
        except ValueError as error:
            raise InputError(f"{uri} is not a catalogue of this version: {error}") from error
        if found.format != FORMAT:
            raise InputError(f"{uri} is of format {found.format}; this version reads {FORMAT}")
        if found.check != found._digest():
            raise RunError(f"{uri} is damaged: it is not what was written")
        return found


class CatalogLease(Protocol):
    """The right to move the pointer of a catalogue; see `leased`.

    token: grows with each process that holds it.
    """

    @property
    def token(self) -> int: ...

    def swap(self, before: Pointer | None, after: Pointer) -> None:
        """Replace the pointer, where it is still what it was before; CatalogBusyError where another
        process has moved it meanwhile, or has taken the lease over."""


def move_pointer(
    storage: Storage,
    folder: str,
    lease: CatalogLease,
    before: Pointer | None,
    generation: Generation,
) -> Pointer:
    """Point to a generation whose manifest is written; CatalogBusyError as of `swap`."""
    manifest = f"{generation.name}/{MANIFEST}"
    digest = hashlib.sha256(storage.read(runs.join(folder, manifest))).hexdigest()
    known = before or Pointer(0, "", "", 0, 0, 0, 0, 0)
    after = Pointer(
        generation.number,
        manifest,
        digest,
        max(known.numbers, generation.numbers),
        max(known.group_ids, generation.group_ids),
        max(known.events, generation.events),
        max(known.highest, generation.number),
        lease.token,
    )
    lease.swap(before, after)
    return after


@dataclass(frozen=True)
class _LocalLease:
    """That of a catalogue in a local folder."""

    folder: str
    token: int

    def swap(self, before: Pointer | None, after: Pointer) -> None:
        storage = LocalStorage()
        if _token(self.folder) != self.token or Pointer.load(storage, self.folder) != before:
            raise _changed(self.folder)
        storage.write(runs.join(self.folder, POINTER), after.to_json())


@dataclass(frozen=True)
class _BucketLease:
    """That of a catalogue in a bucket, whose pointer is written as long as the lease is held."""

    folder: str
    held: leases.BucketLease

    @property
    def token(self) -> int:
        return self.held.token

    def swap(self, before: Pointer | None, after: Pointer) -> None:
        storage = RecordedStorage(self.folder)
        if Pointer.load(storage, self.folder) != before:
            raise _changed(self.folder)
        try:
            self.held.write(storage, runs.join(self.folder, POINTER), after.to_json())
        except TransientError as error:
            raise _changed(self.folder) from error


def _changed(folder: str) -> CatalogBusyError:
    return CatalogBusyError(
        f"another process has changed the catalogue {folder} meanwhile: nothing was committed; run "
        "it again"
    )


@contextlib.contextmanager
def leased(folder: str) -> Iterator[CatalogLease]:
    """Hold the lease of a catalogue; CatalogBusyError where another process has it.

    InputError for a bucket whose store has no conditional writes that copydetect knows.
    """
    with _leased_in_bucket(folder) if "://" in folder else _leased_here(folder) as lease:
        yield lease


@contextlib.contextmanager
def _leased_in_bucket(folder: str) -> Iterator[CatalogLease]:
    refuse_unswappable(folder)
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(leases.leased(folder, runs.join(folder, _LEASE)))
        except TransientError as error:
            raise CatalogBusyError(
                f"another process is at work on the catalogue {folder}: {error}"
            ) from error
        assert held is not None
        yield _BucketLease(folder, held)


@contextlib.contextmanager
def _leased_here(folder: str) -> Iterator[CatalogLease]:
    os.makedirs(folder, exist_ok=True)
    busy = CatalogBusyError(
        f"another process is at work on the catalogue {folder}: try again when it has ended"
    )
    # Where a network file system has no locks, the token keeps the later one safe.
    with locked(runs.join(folder, _LOCK), busy):
        remove_unfinished(folder)
        lease = _LocalLease(folder, _token(folder) + 1)
        held = {"token": lease.token, "host": platform.node(), "process": os.getpid()}
        LocalStorage().write(runs.join(folder, _LEASE), json.dumps(held).encode())
        yield lease


def refuse_unswappable(folder: str) -> None:
    """InputError where nothing keeps two nights of a catalogue apart."""
    if "://" in folder and swaps_for(folder) is None:
        raise InputError(
            f"the catalogue {folder} is in a store of which copydetect knows no conditional writes:"
            " use a local folder, s3:// or gs://"
        )


def _token(folder: str) -> int:
    try:
        held = json.loads(LocalStorage().read(runs.join(folder, _LEASE)))
        return int(held["token"])
    except (InputError, ValueError, KeyError, TypeError):
        return 0


def load_generation(storage: Storage, folder: str, number: int = 0) -> Generation | None:
    """The last generation of a catalogue, or an earlier one that is still there; None where there
    is no catalogue. RunError where it is damaged."""
    pointer = Pointer.load(storage, folder)
    if pointer is None:
        return None
    if number in (0, pointer.generation):
        return Generation.load(storage, folder, pointer.manifest, pointer.sha256)
    return Generation.load(storage, folder, f"{generation_name(number)}/{MANIFEST}", "")
