"""The storage for a place; Beam, which takes seconds to load, only where something is elsewhere."""

from __future__ import annotations

from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

from copydetect.quiet_imports import quiet_imports
from copydetect.storage.files import LocalStorage, Storage

if TYPE_CHECKING:
    from copydetect.storage.remote import BeamStorage

_IMPORTING = Lock()


def storage_for(uri: str) -> Storage:
    """Storage that writes on the local disk for a path, Beam's file systems for `scheme://…`."""
    return _beam_storage() if "://" in uri else MostlyLocalStorage()


class MostlyLocalStorage(LocalStorage):
    """The local disk; what is read from elsewhere is read through Beam's file systems."""

    def open(self, uri: str) -> BinaryIO:
        return _beam_storage().open(uri) if "://" in uri else super().open(uri)

    def local_path(self, uri: str) -> str:
        return _beam_storage().local_path(uri) if "://" in uri else super().local_path(uri)


def _beam_storage() -> BeamStorage:
    return _beam_storage_class()()


@cache
def _beam_storage_class() -> type[BeamStorage]:
    # Threads that read at once import in turn: what is quiet meanwhile is so for all of them.
    with _IMPORTING, quiet_imports():
        from copydetect.storage.remote import BeamStorage

    return BeamStorage
