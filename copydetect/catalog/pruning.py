"""Roll back a night, and remove old generations."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator

from copydetect import runs
from copydetect.catalog.generations import MANIFEST, Generation, refuse_damaged
from copydetect.catalog.pointer import Lease, Pointer, load_generation
from copydetect.errors import InputError, OptionError, RunError
from copydetect.storage.files import Storage
from copydetect.storage.records import recorded_files

_FOLDER = re.compile(r"gen-(\d{6,})")


def roll_back(storage: Storage, folder: str, lease: Lease) -> Generation:
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
    lease.move(pointer, before)
    return before


def prune(storage: Storage, folder: str, count: int, days: float | None = None) -> tuple[int, int]:
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
    for name in sorted(os.listdir(folder)):
        found = _FOLDER.fullmatch(name)
        if not found or int(found[1]) > pointer.highest:
            continue  # a night that has not ended may still be continued
        for uri in recorded_files(folder, runs.join(folder, name)):
            if uri[len(folder.rstrip("/")) + 1 :] not in needed:
                storage.delete(uri)
                removed += 1
    return len(kept), removed


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
