"""What `dedup` and `match` do: every stage in order, then the manifest, then the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from copydetect import runs
from copydetect.description.normalization import normalize_vectors
from copydetect.errors import InputError, TooManyFailuresError
from copydetect.inputs.finding import find_sources
from copydetect.inputs.input_specs import INPUTS, Inputs, specs_of
from copydetect.inputs.sources import Sources
from copydetect.options import EngineOptions, RunOptions
from copydetect.results import Result
from copydetect.runs import Manifest, RoleInput
from copydetect.settings import Settings
from copydetect.storage.leases import BucketLease
from copydetect.storage.remote import BeamStorage, RecordedStorage
from copydetect.storage.swaps import swaps_for
from copydetect.summary import PLURAL
from copydetect.transforms.refs_to_descriptions import DescriberSetup
from copydetect.types import Role
from copydetect.verification.calibration import Task

from . import stages
from .engine import Engine, engine_of
from .outputs import (
    alone_in,
    check_writable,
    output_folder,
    refuse_foreign,
    refuse_input_in_output,
    whole_path,
    with_whole_paths,
)
from .report import write_report
from .retries import forget_what_follows, only_failures_have_gone, some_can_be_read_now
from .self_check import SCRATCH
from .stages import Listing, Workplace
from .totals import read_totals
from .whole_run import search_and_verify

_LISTING = "listing"
_INDEX_SPILLS = ("sample", "vectors", "vectors-bundles")
_SCRATCH = (
    "search",
    "pairs",
    SCRATCH,
    *(f"index/{name}/{made}" for name in ("descriptors", "keypoints") for made in _INDEX_SPILLS),
)


@dataclass(frozen=True)
class Job:
    """A job whose inputs and options are checked: no run has been written yet."""

    command: str
    inputs: dict[Role, Sources]
    output: str
    options: RunOptions
    settings: Settings
    setup: DescriberSetup
    models: dict[str, str]
    engine: Engine
    storage: RecordedStorage

    @property
    def roles(self) -> tuple[Role, Role]:
        """The roles of queries and references; the same twice for `dedup`."""
        roles = list(self.inputs)
        return roles[0], roles[-1]

    @property
    def decisive(self) -> dict[str, Any]:
        """The settings and models that decide the results, for the manifest."""
        return {**self.settings.for_manifest(), "models": self.models}


def checked_job(
    command: str,
    inputs: Mapping[Role, Inputs],
    output: str,
    options: RunOptions,
    engine_options: EngineOptions,
) -> Job:
    """Check everything that can be checked before work begins.

    inputs: one role, or queries and references in this order. InputError, OptionError or
    ModelError name what is wrong.
    """
    output = output_folder(output)
    engine = engine_of(engine_options)
    try:
        return _checked_job(engine, command, inputs, output, options)
    except BaseException:
        engine.stop_server()
        raise


def _checked_job(
    engine: Engine,
    command: str,
    inputs: Mapping[Role, Inputs],
    output: str,
    options: RunOptions,
) -> Job:
    if not engine.is_local:
        # Workers start in folders of their own.
        output, options = whole_path(output), with_whole_paths(options)
    storage = RecordedStorage(output, runs.join(output, _LISTING, "rows"), _SCRATCH)
    task: Task = "match" if "query" in inputs else "dedup"
    settings = Settings.of(options, task, BeamStorage())
    check_writable(output)
    refuse_foreign(output)
    setup = DescriberSetup.chosen(settings, options)
    sources = {}
    for role, given in inputs.items():
        specs = specs_of(storage, output, role, given)
        if not engine.is_local:
            specs = tuple(map(whole_path, specs))
        sources[role] = find_sources(storage, specs, options.exclude)
        refuse_input_in_output(sources[role], output)
    # The device is that of the workers, which need not be here.
    models = models_of(setup if engine.is_local else replace(setup, device="cpu"))
    if engine.is_elsewhere and "://" not in output:
        engine.tell(f"{output} is a path: workers on other machines must see it, too")
    if "://" in output and swaps_for(output) is None:
        engine.tell(f"nothing keeps another run from writing to {output} at the same time")
    engine.fork()
    return Job(command, sources, output, options, settings, setup, models, engine, storage)


def run_job(job: Job) -> Result:
    """Run every stage, commit the manifest, draw the report.

    Files of an interrupted run over the same content with the same settings are used again, and of
    a finished one nothing but the report is made again. InputError where OUT holds another run that
    may not be replaced; TooManyFailuresError where too much of an input could not be read.
    """
    with alone_in(job.output) as lease:
        _refuse_other_run(job)
        listings = listings_of(job)
        digest = "".join(listing.digest for listing in listings)
        folder = runs.run_folder_name({"command": job.command, **job.decisive}, digest)
        job.engine.name = f"{job.engine.name}-{job.command}-{folder[-8:]}"
        _refuse_other_run(job, folder, listings)
        finished = _finished(job, folder)
        manifest = finished or _work(job, folder, listings)
        if not finished and not _commit(job, manifest, lease):
            raise _too_many_failures(job, manifest)
        if lease is not None:
            lease.check()
        with ThreadPoolExecutor(1) as beside:
            tidied = beside.submit(_remove_scratch, job, folder)
            _remove_earlier(job, folder)
            if job.options.report:
                write_report(job.storage, job.output, workplace_of(job, folder).decoding(0))
        tidied.result()
    result = Result(job.storage, job.output, manifest, made_before=bool(finished))
    if not manifest.accepted:
        raise TooManyFailuresError(_failed_shares(job, manifest), result)
    return result


def _refuse_other_run(
    job: Job, folder: str | None = None, listings: Sequence[Listing] = ()
) -> None:
    """InputError where OUT holds a good run that is not this one, unless it may be replaced.

    folder: of this run, once it is known; before that, settings alone tell runs apart.
    """
    if job.options.overwrite or not job.storage.is_whole(runs.join(job.output, runs.MANIFEST)):
        return
    earlier = Manifest.load(job.storage, job.output)
    settings = json.loads(json.dumps(job.decisive))
    if (earlier.command, earlier.settings) != (job.command, settings):
        why = "with other settings"
    elif folder is None or folder == earlier.folder or not earlier.accepted:
        return
    else:
        uris = chain.from_iterable(listing.uris for listing in listings)
        if only_failures_have_gone(job.storage, job.output, earlier, uris):
            return
        why = "over other pictures"
    raise InputError(
        f"{job.output} holds a finished run of `{earlier.command}` {why}. Add --overwrite to "
        f"replace it, or choose another folder, such as --output {job.output}-2"
    )


def _finished(job: Job, folder: str) -> Manifest | None:
    """The manifest of this very run, where all of it is there and nothing is to be tried again.

    Where an image that failed for a passing reason can be used by now, all that is made of the
    descriptions goes, to be made anew.
    """
    try:
        manifest = Manifest.load(job.storage, job.output)
        if manifest.folder != folder:
            return None
    except InputError:
        return None  # no run, or another version's or a damaged one, which this one replaces
    made = [uri for name in manifest.tables for uri in manifest.table_uris(job.output, name)]
    if made and workplace_of(job, folder).unfinished_of([made]):
        return None
    if some_can_be_read_now(job.storage, job.output, manifest, job.setup):
        forget_what_follows(job.storage, job.output, folder)
        return None
    return manifest


def _work(job: Job, folder: str, listings: list[Listing]) -> Manifest:
    """Describe, search, verify and group; the manifest, not yet committed."""
    place = workplace_of(job, folder)
    manifest = search_and_verify(job, place, folder, listings)
    totals = read_totals(job.storage, place.folder)
    inputs = {
        listing.role: _role_input(listing, job.inputs[listing.role], totals.failed[listing.role])
        for listing in listings
    }
    allowed = job.options.max_failed_fraction
    accepted = all(one.failed <= allowed * one.images for one in inputs.values())
    return replace(manifest, inputs=inputs, accepted=accepted)


def _role_input(listing: Listing, sources: Sources, failed: int) -> RoleInput:
    return RoleInput(
        named=sources.named,
        images=listing.images,
        failed=failed,
        skipped=sources.skipped,
        excluded=sources.excluded,
        renamed=listing.renamed,
        renamed_example=listing.example,
    )


def _commit(job: Job, manifest: Manifest, lease: BucketLease | None) -> bool:
    """Make the run visible, unless too much of its input failed and an earlier result exists."""
    if not manifest.accepted and job.storage.exists(runs.join(job.output, runs.MANIFEST)):
        manifest.commit(job.storage, runs.join(job.output, manifest.folder))
        return False
    manifest.commit(job.storage, job.output, lease)
    return True


def _too_many_failures(job: Job, manifest: Manifest) -> TooManyFailuresError:
    """What is said where an earlier result stays; this run's files stay beside it."""
    message = (
        f"{_failed_shares(job, manifest)}. The earlier result in {job.output} stays; the tables of "
        f"this run are in {runs.join(job.output, manifest.folder)}"
    )
    return TooManyFailuresError(message, Result(job.storage, job.output, manifest))


def _failed_shares(job: Job, manifest: Manifest) -> str:
    allowed = job.options.max_failed_fraction
    shares = [
        f"{one.failed:,} of {one.images:,} {PLURAL[role]}"
        for role, one in manifest.inputs.items()
        if one.failed > allowed * one.images
    ]
    return f"{' and '.join(shares)} failed, more than max_failed_fraction {allowed:g} allows"


def workplace_of(job: Job, folder: str) -> Workplace:
    """The place of a run."""
    return Workplace(job.storage, runs.join(job.output, folder), job.engine)


def listings_of(job: Job) -> list[Listing]:
    """List every input; where there is nothing to work on, nothing stays."""
    place = Workplace(job.storage, runs.join(job.output, _LISTING), job.engine)
    job.storage.delete(place.folder)
    try:
        return stages.list_roles(place, job.inputs)
    except InputError:
        job.storage.delete(place.folder)
        raise


def models_of(setup: DescriberSetup) -> dict[str, str]:
    """The identities of what describes the images; ModelError where a file is no model, OptionError
    where the background is too small."""
    describer = setup.load()
    found = {}
    if describer.embedder is not None:
        found["descriptor"] = describer.embedder.identity
        background = describer.background
        normalize_vectors(background[:0], background)
        found["background"] = hashlib.sha256(background.tobytes()).hexdigest()[:12]
    if describer.quantiser is not None:
        found["local"] = describer.quantiser.identity
    return found


def _remove_scratch(job: Job, folder: str) -> None:
    """Remove the temporary files of the stages of a committed run."""
    for name in _SCRATCH:
        job.storage.delete(runs.join(job.output, folder, name))


def _remove_earlier(job: Job, folder: str) -> None:
    """Remove the listing, earlier runs, and files that only these have read."""
    job.storage.delete(runs.join(job.output, _LISTING))
    runs.remove_other_runs(job.storage, job.output, folder)
    given = runs.join(job.output, INPUTS)
    pieces = chain.from_iterable(one.pieces for one in job.inputs.values())
    read = {uri for piece in pieces for uri in piece.uris()}
    for file in job.storage.files_under(given):
        if file.uri not in read:
            job.storage.delete(file.uri)
