"""The pointer to the last generation of a catalogue, and the lease of the process that may add the
next.

The pointer is a file that is replaced in one step, so that a reader sees one generation or the
other. A process that works on a catalogue holds its lease: a lock that the system frees when the
process ends, and a number that only grows. The pointer moves only where it still points to the
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

from copydetect import runs
from copydetect.catalog.generations import MANIFEST, Generation, generation_name
from copydetect.errors import CatalogBusyError, InputError, RunError
from copydetect.json_values import parse_as
from copydetect.storage.files import LocalStorage, Storage
from copydetect.storage.records import remove_unfinished

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

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


@dataclass(frozen=True)
class Lease:
    """The right to move the pointer of a catalogue in a local folder; see `leased`."""

    folder: str
    token: int

    def move(self, before: Pointer | None, generation: Generation) -> Pointer:
        """Point to a generation whose manifest is written; CatalogBusyError where another one has
        been committed meanwhile, or the lease has been taken over."""
        manifest = f"{generation.name}/{MANIFEST}"
        with LocalStorage().open(runs.join(self.folder, manifest)) as stream:
            digest = hashlib.sha256(stream.read()).hexdigest()
        known = before or Pointer(0, "", "", 0, 0, 0, 0, 0)
        after = Pointer(
            generation.number,
            manifest,
            digest,
            max(known.numbers, generation.numbers),
            max(known.group_ids, generation.group_ids),
            max(known.events, generation.events),
            max(known.highest, generation.number),
            self.token,
        )
        self._swap(before, after)
        return after

    def _swap(self, before: Pointer | None, after: Pointer) -> None:
        storage = LocalStorage()
        if _token(self.folder) != self.token or Pointer.load(storage, self.folder) != before:
            raise CatalogBusyError(
                f"another process has changed the catalogue {self.folder} meanwhile: nothing was "
                "committed; run it again"
            )
        storage.write(runs.join(self.folder, POINTER), after.to_json())


@contextlib.contextmanager
def leased(folder: str) -> Iterator[Lease]:
    """Hold the lease of a catalogue; CatalogBusyError where another process has it.

    InputError for a folder that is not local: there is no lease for object stores yet.
    """
    if "://" in folder:
        raise InputError(
            f"the catalogue {folder} is not in a local folder: catalogues in object stores are not "
            "supported yet, inputs are"
        )
    os.makedirs(folder, exist_ok=True)
    handle = os.open(runs.join(folder, _LOCK), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(handle, folder)
        remove_unfinished(folder)
        lease = Lease(folder, _token(folder) + 1)
        held = {"token": lease.token, "host": platform.node(), "process": os.getpid()}
        LocalStorage().write(runs.join(folder, _LEASE), json.dumps(held).encode())
        yield lease
    finally:
        os.close(handle)


def _lock(handle: int, folder: str) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CatalogBusyError(
            f"another process is at work on the catalogue {folder}: try again when it has ended"
        ) from error
    except OSError:
        # Some network file systems have no locks: the token keeps the later one safe.
        pass


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
