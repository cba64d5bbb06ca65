"""Roll back a night, and remove old generations."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator

from copydetect import runs
from copydetect.catalog.generations import MANIFEST, Generation, refuse_damaged
from copydetect.catalog.pointer import CatalogLease, Pointer, load_generation, move_pointer
from copydetect.errors import InputError, OptionError, RunError
from copydetect.storage.files import Storage
from copydetect.storage.remote import RecordedStorage

_FOLDER = re.compile(r"gen-(\d{6,})")


def roll_back(storage: Storage, folder: str, lease: CatalogLease) -> Generation:
    """Point to the generation before the last one, if it is whole; returns it.

    InputError where there is none; RunError where it is damaged. Numbers and ids that the night
    gave are not given again.
    """
    pointer, last = _last(storage, folder)
    if not last.parent:
        raise InputError(f"the catalogue {folder} has no night before the last one")
    try:
        before = load_generation(storage, folder, last.parent)
    except RunError as error:
        raise InputError(f"the night before is no longer there: {error}") from error
    assert before is not None
    refuse_damaged(storage, folder, before.entries())
    move_pointer(storage, folder, lease, pointer, before)
    return before


def prune(
    storage: RecordedStorage, folder: str, count: int, days: float | None = None
) -> tuple[int, int]:
    """Remove what only older generations than the last `count` are made of, and those that were
    rolled back; the lease must be held.

    days: generations that are not older than this stay as well. Returns how many generations are
    left, and how many files were removed.
    """
    if count < 1:
        raise OptionError(f"keep is {count}; at least the last generation must stay: 1 or more")
    pointer, _ = _last(storage, folder)
    kept = [
        generation
        for at, generation in enumerate(_history(storage, folder))
        if at < count or (days is not None and _age_days(generation) <= days)
    ]
    needed = {entry.path for generation in kept for entry in generation.entries()}
    needed |= {f"{generation.name}/{MANIFEST}" for generation in kept}
    removed = 0
    for name in _generations(storage, folder, pointer.highest):
        for uri in storage.recorded(runs.join(folder, name)):
            if _below(folder, uri) not in needed:
                storage.delete(uri)
                removed += 1
    return len(kept), removed


def _generations(storage: Storage, folder: str, highest: int) -> list[str]:
    """The folders of nights that have ended; another one may still be continued."""
    names = {_below(folder, file.uri).split("/")[0] for file in storage.files_under(folder)}
    found = {name: _FOLDER.fullmatch(name) for name in sorted(names)}
    return [name for name, match in found.items() if match and int(match[1]) <= highest]


def _below(folder: str, uri: str) -> str:
    return uri[len(folder.rstrip("/")) + 1 :]


def _history(storage: Storage, folder: str) -> Iterator[Generation]:
    """The generations that are still there, from the last one back."""
    generation = load_generation(storage, folder)
    while generation is not None:
        yield generation
        try:
            generation = (
                load_generation(storage, folder, generation.parent) if generation.parent else None
            )
        except RunError:
            return


def _last(storage: Storage, folder: str) -> tuple[Pointer, Generation]:
    pointer = Pointer.load(storage, folder)
    generation = load_generation(storage, folder)
    if pointer is None or generation is None:
        raise InputError(f"{folder} holds no catalogue: there is no catalog.json in it")
    return pointer, generation


def _age_days(generation: Generation) -> float:
    made = datetime.datetime.fromisoformat(generation.created)
    return (datetime.datetime.now(datetime.timezone.utc) - made).total_seconds() / 86_400
