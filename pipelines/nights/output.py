"""The results of a night → OUT, in the tables of a run, for the other commands."""

from __future__ import annotations

from dataclasses import asdict

import pyarrow as pa

from copydetect import runs, tables
from copydetect.catalog.generations import Generation
from copydetect.errors import InputError
from copydetect.runs import MANIFEST, Manifest
from copydetect.storage.remote import RecordedStorage
from copydetect.summary import removable_bytes

from ..outputs import alone_in, check_writable, refuse_foreign
from .results import entries_of

_COMMAND = "nightly"


def check_output(output: str, catalog: str, overwrite: bool, command: str = _COMMAND) -> None:
    """InputError where the output cannot be written, or holds something else than a night."""
    if f"{output}/".startswith(f"{catalog}/"):
        raise InputError(
            f"the output {output} is in the catalogue {catalog}: choose another folder"
        )
    check_writable(output)
    refuse_foreign(output)
    storage = RecordedStorage(output)
    if overwrite or not storage.exists(runs.join(output, MANIFEST)):
        return
    earlier = Manifest.load(storage, output)
    if earlier.command != command:
        raise InputError(
            f"{output} holds a finished run of `{earlier.command}`. Add --overwrite to replace it, "
            "or choose another folder"
        )


def write_night(catalog: str, generation: Generation, output: str) -> Manifest:
    """Write what the night that made a generation has found; an earlier night's tables go."""
    folder = runs.run_folder_of(generation.to_json().decode())
    source, storage = RecordedStorage(catalog), RecordedStorage(output)
    with alone_in(output) as lease:
        named: dict[str, list[str]] = {}
        shown: dict[str, pa.Table] = {}
        for name, entries in entries_of(generation).items():
            uris = [runs.join(catalog, entry.path) for entry in entries]
            shown[name] = tables.read_tables(source, uris, tables.SCHEMAS[name])
            named[name] = [runs.join(folder, name, runs.part_name(0))]
            tables.write_table(storage, runs.join(output, *named[name]), shown[name])
        counts = {name: table.num_rows for name, table in shown.items()}
        counts |= {f"night_{name}": count for name, count in generation.counts.items()}
        manifest = Manifest(
            command=_COMMAND,
            folder=folder,
            settings={"catalog": catalog, "era": asdict(generation.era)},
            tables=named,
            counts=counts,
            seconds=dict(generation.seconds),
            quality=dict(generation.quality),
            removable_bytes=removable_bytes(shown["groups"], shown["images"]),
        )
        manifest.commit(storage, output, lease)
        runs.remove_other_runs(storage, output, folder)
    return manifest
