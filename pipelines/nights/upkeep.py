"""The actions of `copydetect catalog`; each returns its report as JSON values."""

from __future__ import annotations

import io
from argparse import Namespace
from typing import Any, Literal

from pyarrow import csv

from copydetect.api import open_catalog
from copydetect.catalog.pointer import leased
from copydetect.catalog.pruning import prune as prune_generations
from copydetect.catalog.pruning import roll_back
from copydetect.errors import OptionError, RunError
from copydetect.options import EngineOptions, RunOptions
from copydetect.storage.remote import RecordedStorage

from ..outputs import output_folder
from .job import NightRequest
from .nightly import run_nightly
from .upgrading import begin_upgrade, describe_rest, end_upgrade, refuse_too_few


def show(arguments: Namespace) -> dict[str, Any]:
    """What the catalogue holds."""
    return open_catalog(arguments.catalog).summary()


def verify(arguments: Namespace) -> dict[str, Any]:
    """Read every file; RunError that names all that are missing or damaged."""
    catalog = open_catalog(arguments.catalog)
    found = catalog.verify()
    if found:
        raise RunError(f"the catalogue {catalog.folder} is damaged:\n  " + "\n  ".join(found))
    files = len(set(catalog.generation.entries()))
    return {"catalog": catalog.folder, "generation": catalog.generation.number, "files": files}


def rollback(arguments: Namespace) -> dict[str, Any]:
    """Go back to the night before."""
    folder = _existing(arguments)
    with leased(folder) as lease:
        generation = roll_back(RecordedStorage(folder), folder, lease)
    return {"catalog": folder, "generation": generation.number, "created": generation.created}


def decisions(arguments: Namespace) -> dict[str, Any]:
    """What people have decided: rows, and the same as the text of a CSV file."""
    table = open_catalog(arguments.catalog).decisions
    text = io.BytesIO()
    csv.write_csv(table, text)
    return {"decisions": table.to_pylist(), "csv": text.getvalue().decode()}


def compact(arguments: Namespace) -> dict[str, Any]:
    """Few large parts, and indexes without what is gone."""
    return _upkeep(arguments, "compact")


def upgrade(arguments: Namespace) -> dict[str, Any]:
    """Begin to go over to another descriptor model."""
    if not arguments.model:
        raise OptionError("give --model, the descriptor model to go over to")
    folder = _existing(arguments)
    options = _options(arguments).changed(model=arguments.model, background=arguments.background)
    begun = begin_upgrade(folder, options)
    if begun.upgrade is None:
        end_upgrade(folder)
    return show(arguments)


def rebuild(arguments: Namespace) -> dict[str, Any]:
    """The same, with partitions that are trained anew: another era. Where another descriptor model
    was begun with, all that has none of its descriptors gets them first."""
    folder, options = _existing(arguments), _options(arguments)
    left = describe_rest(folder, options, EngineOptions())
    contents = open_catalog(folder).generation.counts.get("contents", 0)
    refuse_too_few(left, contents, options.max_failed_fraction)
    told = _upkeep(arguments, "rebuild")
    end_upgrade(folder)
    return told


def _options(arguments: Namespace) -> RunOptions:
    return RunOptions(
        trust_model=arguments.trust_model,
        device=arguments.device,
        max_failed_fraction=arguments.max_failed_fraction,
    )


def _upkeep(arguments: Namespace, what: Literal["compact", "rebuild"]) -> dict[str, Any]:
    folder = _existing(arguments)
    summary = run_nightly(
        folder,
        None,
        None,
        NightRequest(upkeep=what),
        _options(arguments),
        EngineOptions(),
        arguments.keep,
    )
    return {**show(arguments), "verified": summary.verified}


def prune(arguments: Namespace) -> dict[str, Any]:
    """Remove old generations."""
    folder = _existing(arguments)
    with leased(folder):
        kept, removed = prune_generations(
            RecordedStorage(folder), folder, arguments.keep, arguments.keep_days
        )
    return {"catalog": folder, "generations": kept, "files_removed": removed}


def in_words(told: dict[str, Any]) -> str:
    """Lines for a person: one a value."""
    width = max(map(len, told))
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {_said(v)}" for name, v in told.items())


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _existing(arguments: Namespace) -> str:
    """The folder, which must hold a catalogue: a lease makes what it needs."""
    folder = output_folder(arguments.catalog)
    return open_catalog(folder).folder
