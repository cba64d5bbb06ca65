"""A night from its arguments to its summary."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from copydetect import runs, tables
from copydetect.catalog.catalog import Catalog
from copydetect.catalog.decisions import DECISIONS, read_decisions, read_table_of
from copydetect.catalog.nights import NightSummary
from copydetect.catalog.pointer import leased, load_generation
from copydetect.catalog.pruning import prune
from copydetect.errors import InputError, OptionError
from copydetect.inputs.input_specs import Inputs
from copydetect.options import EngineOptions, RunOptions
from copydetect.results import Result
from copydetect.storage.files import Storage
from copydetect.storage.remote import BeamStorage

from ..outputs import output_folder
from .job import NightJob, NightRequest, checked_night
from .night import Night, run_night
from .output import check_output, write_night
from .results import entries_of
from .upgrading import forgetting
from .uploads import ask_about

_SHOWN = 3


def run_nightly(
    catalog: str,
    given: Inputs | None,
    output: str | None,
    request: NightRequest,
    options: RunOptions,
    engine: EngineOptions,
    keep_generations: int,
    named: Collection[str] = (),
) -> NightSummary:
    """Check, run, write the tables of the night, and remove generations that are too old. named:
    options that were given for this night, with their defaults perhaps."""
    if keep_generations < 1:
        raise OptionError(f"keep_generations is {keep_generations}; it must be at least 1")
    if output is not None:
        output = output_folder(output)
        check_output(output, output_folder(catalog), options.overwrite)
    job = checked_night(catalog, given, request, options, engine, named)
    with forgetting(job.catalog, request.forget):
        night = run_night(job)
    if output is not None:
        write_night(job.catalog, night.generation, output)
    if night.committed:
        with leased(job.catalog):
            # Of what is to be forgotten nothing may be left in earlier nights.
            kept = 1 if request.forget else keep_generations
            prune(job.storage, job.catalog, kept)
    # After an error others may be at work yet, and would be waited for.
    job.engine.processes.stop()
    return _summary(job, night, output)


def run_asked(
    catalog: str,
    given: Inputs,
    output: str,
    options: RunOptions,
    engine: EngineOptions,
    named: Collection[str] = (),
) -> Result:
    """Look uploads up in a catalogue; none of them is added. named: as for `run_nightly`."""
    output = output_folder(output)
    check_output(output, output_folder(catalog), options.overwrite, "match")
    job = checked_night(catalog, given, NightRequest(), options, engine, named)
    if load_generation(job.storage, job.catalog) is None:
        raise InputError(f"{catalog} holds no catalogue: there is no catalog.json in it")
    result = ask_about(job, output)
    job.engine.processes.stop()
    return result


def request_of(
    remove: str | Sequence[str], forget: str | Sequence[str], decisions: str | None
) -> NightRequest:
    """The request of a night from the arguments. remove, forget: files, or image_ids themselves;
    decisions: a file. InputError where one is none."""
    storage = BeamStorage()
    gone = [
        read_ids(storage, given) if isinstance(given, str) else list(given)
        for given in (remove, forget)
    ]
    said = DECISIONS.empty_table() if decisions is None else read_decisions(storage, decisions)
    return NightRequest(tuple(gone[0]), tuple(gone[1]), said)


def read_ids(storage: Storage, uri: str) -> list[str]:
    """The image_ids of a CSV or Parquet file; InputError where it is none or has no such column."""
    table = read_table_of(storage, uri)
    if "image_id" not in table.column_names:
        raise InputError(
            f"{uri} has no column image_id; its columns are {', '.join(table.column_names)}"
        )
    return [str(one) for one in table["image_id"].to_pylist() if one is not None]


def _summary(job: NightJob, night: Night, output: str | None) -> NightSummary:
    plan, generation = night.plan, night.generation
    catalog = Catalog(job.storage, job.catalog)
    shown = {
        name: [runs.join(job.catalog, entry.path) for entry in entries]
        for name, entries in entries_of(generation).items()
    }
    matches = tables.read_tables(job.storage, shown["matches"], tables.MATCHES, ["is_copy"])
    failures = catalog.failures.slice(0, _SHOWN).to_pylist() if night.committed else []
    counts = generation.counts if night.committed else {}
    return NightSummary(
        catalog=job.catalog,
        generation=generation.number,
        committed=night.committed,
        added=counts.get("added", 0) - counts.get("changed", 0),
        changed=counts.get("changed", 0),
        moved=len(plan.moved) if night.committed else 0,
        removed=counts.get("removed", 0) - counts.get("changed", 0),
        known=plan.known,
        failed=catalog.failures.num_rows if night.committed else 0,
        first_failures=tuple((row["image_id"], row["message"]) for row in failures),
        renamed=tuple(sorted(plan.renamed.items())),
        unknown=tuple(plan.unknown),
        images=generation.counts.get("images", 0),
        groups=generation.counts.get("groups", 0),
        copies=sum(matches["is_copy"].to_pylist()) if night.committed else 0,
        verified=counts.get("verified", 0),
        events=tables.read_tables(job.storage, shown["events"], tables.EVENTS).num_rows
        if night.committed
        else 0,
        seconds=sum(generation.seconds.values()) if night.committed else 0.0,
        grown=generation.quality.get("grown", 1.0),
        drift=generation.quality.get("drift", 1.0),
        output=output,
    )
