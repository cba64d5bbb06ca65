"""A job that looks which of many parts are done: all bytes of a part tell whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from itertools import chain

from copydetect import runs
from copydetect.parts import unfinished
from copydetect.storage.files import Storage
from copydetect.transforms.run_in_processes import OnWorkers
from copydetect.transforms.waiting import Elements, GatherThen
from copydetect.workers.processes import Processes

from .chains import Stage
from .progress import Progress

MANY_PARTS = 1024
"""From so many parts up the job is worth its start."""
_TOGETHER = 64
_NAME = "look for what is done"


def looking_for_unfinished(
    storage: Storage, folder: str, tables: Sequence[Sequence[str]], failures: Sequence[str]
) -> Stage[str]:
    """Look for parts that are to be made; where their numbers are then, as JSON.

    folder: of the run; tables: the files of each table, one per part; failures: as of
    `parts.unfinished`.
    """
    uri = runs.join(folder, "search", "unfinished.json")
    look = OnWorkers(partial(_unfinished_among, storage, tables, failures), Processes())
    note = GatherThen(_note_numbers, storage, uri)
    work = range(0, len(tables[0]), _TOGETHER)
    return Stage(
        _NAME,
        lambda start: start | "parts" >> Elements(work) | look | "note" >> note,
        uri,
        Progress(_NAME),
    )


def _unfinished_among(
    storage: Storage, tables: Sequence[Sequence[str]], failures: Sequence[str], first: int
) -> list[int]:
    """Of some parts from `first` on, those that are to be made."""
    some = slice(first, first + _TOGETHER)
    files = list(zip(*(table[some] for table in tables), strict=True))
    return [first + number for number in unfinished(storage, files, failures[some])]


def _note_numbers(storage: Storage, uri: str, found: Sequence[list[int]]) -> None:
    storage.write(uri, json.dumps(sorted(chain.from_iterable(found))).encode())
