"""What `dedup` and `match` do: every stage in order, then the manifest, then the report."""

from __future__ import annotations

import argparse
import hashlib
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.candidates.candidate_parts import Proposals, Side
from copydetect.candidates.densities import DensityOptions
from copydetect.candidates.fusion import CandidateOptions
from copydetect.description.describing import DescriberOptions
from copydetect.description.keypoints import MATCHED
from copydetect.description.normalization import normalize_vectors
from copydetect.description.views import ViewOptions, view_names
from copydetect.errors import InputError, OptionError
from copydetect.evaluation.calibration import bundled_calibration
from copydetect.grouping.groups import GroupOptions, group_copies, images_to_look_at
from copydetect.images import DecodeOptions
from copydetect.index.partitions import IndexOptions
from copydetect.inputs.sources import Sources, find_sources
from copydetect.runs import Manifest
from copydetect.search.neighbors import saturated_queries
from copydetect.search.queries import SearchOptions
from copydetect.transforms.refs_to_descriptions import DescriberSetup
from copydetect.transforms.storage import BeamStorage
from copydetect.types import ImageRef, Role
from copydetect.verification.match_parts import VerifyOptions
from copydetect.verification.matches import MatchOptions
from pipelines import stages
from pipelines.engine import EXIT_DONE, EXIT_TOO_MANY_FAILURES, Engine, engine_of
from pipelines.lost_copies import lost_copies
from pipelines.options import JobOptions, job_options
from pipelines.outputs import alone_in, check_writable, output_folder, refuse_input_in_output
from pipelines.quality import feature_quality, search_quality
from pipelines.report import write_report
from pipelines.stages import Listing, Search, Workplace
from pipelines.summary import summary_of

_RUN_FOLDER = re.compile(r"run-[0-9a-f]{16}")
_LISTING = "listing"
_INDEX_SPILLS = ("sample", "vectors")
_SCRATCH = (
    "search",
    "pairs",
    *(f"index/{name}/{made}" for name in ("descriptors", "keypoints") for made in _INDEX_SPILLS),
)
_DESCRIPTOR_NEIGHBORS = 50
_FEATURE_NEIGHBORS = 8
_FEATURE_PROBES = 4
_FEATURES_PER_LIST = 20
_FEATURE_QUERIES = 65_536
_CROWD = 100
_REF = ["image_id", "uri", "member", "role"]
_COPY_SCORE = 0.8


@dataclass(frozen=True)
class Job:
    """A checked command line: nothing has been written yet."""

    command: str
    inputs: dict[Role, Sources]
    output: str
    options: JobOptions
    setup: DescriberSetup
    models: dict[str, str]
    engine: Engine
    storage: BeamStorage
    max_failed_fraction: float
    report: bool

    @property
    def roles(self) -> tuple[Role, Role]:
        """What is searched in what: the roles of queries and references."""
        roles = list(self.inputs)
        return roles[0], roles[-1]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the results, for the manifest: options, and which models they name."""
        return {**self.options.as_settings(), "models": self.models}


def checked_job(
    command: str,
    inputs: Mapping[Role, str],
    arguments: argparse.Namespace,
    beam_flags: list[str],
) -> Job:
    """Check everything that can be checked before work begins.

    inputs: one role, or queries and references in this order. InputError, OptionError or
    ModelError name what is wrong.
    """
    output = output_folder(arguments.output)
    storage = BeamStorage(row_copies=runs.join(output, _LISTING, "rows"))
    engine = engine_of(beam_flags, arguments.quiet, arguments.verbose)
    options = job_options(arguments)
    if not 0 <= arguments.max_failed_fraction <= 1:
        raise OptionError(f"--max_failed_fraction is {arguments.max_failed_fraction}, not 0 to 1")
    sources = {role: find_sources(storage, spec) for role, spec in inputs.items()}
    setup = _describer_setup(options, arguments.device)
    for check in (_candidate_options, _verify_options, _descriptor_index, _feature_index):
        check(options)
    models = _models(setup)
    for one in sources.values():
        refuse_input_in_output(one, output)
    check_writable(output)
    engine.fork()
    return Job(
        command=command,
        inputs=sources,
        output=output,
        options=options,
        setup=setup,
        models=models,
        engine=engine,
        storage=storage,
        max_failed_fraction=arguments.max_failed_fraction,
        report=not arguments.no_report,
    )


def run_job(job: Job) -> int:
    """Run every stage, commit the manifest, draw the report; returns the exit code.

    Files of an interrupted run over the same content with the same settings are used again, and of
    a finished one nothing but the report is made again.
    """
    with alone_in(job.output):
        listings = listings_of(job)
        digest = "".join(listing.digest for listing in listings)
        folder = runs.run_folder_name({"command": job.command, **job.settings}, digest)
        finished = _finished(job, folder)
        manifest = finished or _work(job, folder, listings)
        _tidy(job, folder)
        page = write_report(job.storage, job.output) if job.report else None
    if not job.engine.quiet:
        print(summary_of(job.storage, job.output, manifest, page, bool(finished)))
    return _verdict(job, manifest)


def _finished(job: Job, folder: str) -> Manifest | None:
    """The manifest of this very run, where all of it is there and nothing is to be tried again.

    Where files that were listed could not be read, all of it goes, to begin anew.
    """
    try:
        manifest = Manifest.load(job.storage, job.output)
        if manifest.folder != folder:
            return None
        failures = manifest.table(job.storage, job.output, "failures", ["stage"])
    except InputError:
        return None  # no run, or another version's or a damaged one, which this one replaces
    if {"read", "verify"} & set(failures["stage"].to_pylist()):
        job.storage.delete(runs.join(job.output, runs.MANIFEST))
        job.storage.delete(runs.join(job.output, folder))
        return None
    wanted = {uri for name in manifest.tables for uri in manifest.table_uris(job.output, name)}
    there = {file.uri for file in job.storage.files_under(runs.join(job.output, folder))}
    return manifest if wanted <= there else None


def _work(job: Job, folder: str, listings: list[Listing]) -> Manifest:
    """Describe, search, verify and group; the manifest, committed."""
    place = Workplace(job.engine, job.storage, runs.join(job.output, folder))
    parts = {listing.role: stages.describe(place, listing, job.setup) for listing in listings}
    manifest = search_and_verify(job, place, folder, parts, listings)
    manifest.commit(job.storage, job.output)
    return manifest


def listings_of(job: Job) -> list[Listing]:
    """List every input; where there is nothing to work on, nothing stays."""
    place = Workplace(job.engine, job.storage, runs.join(job.output, _LISTING))
    job.storage.delete(place.folder)
    try:
        return [stages.list_images(place, sources, role) for role, sources in job.inputs.items()]
    except InputError:
        job.storage.delete(place.folder)
        raise


def _verdict(job: Job, manifest: Manifest) -> int:
    """The exit code of a finished run."""
    failed, images = manifest.counts["failures"], manifest.counts["images"]
    if failed <= job.max_failed_fraction * images:
        return EXIT_DONE
    print(
        f"copydetect: {failed} of {images} images failed, more than --max_failed_fraction "
        f"{job.max_failed_fraction:g} allows",
        file=sys.stderr,
    )
    return EXIT_TOO_MANY_FAILURES


def search_and_verify(
    job: Job,
    place: Workplace,
    folder: str,
    parts: Mapping[Role, int],
    listings: list[Listing],
) -> Manifest:
    """Search, verify and group what is described; the manifest that names all tables."""
    asked, searched = job.roles
    search = Search(asked, parts[asked], searched, parts[searched])
    sides = tuple(stages.side(place, role, parts[role], job.options.channels) for role in job.roles)
    proposals, quality = _proposals(job, place, search, sides)
    candidates = stages.propose(place, proposals, _candidate_options(job.options), DensityOptions())
    verifying = _verify_options(job.options, sides[1].images)
    matches = stages.verify(place, (sides[0], sides[1]), candidates, verifying)
    quality |= lost_copies(place, (sides[0], sides[1]), candidates, verifying)
    uris = {
        name: [uri for role in parts for uri in place.part_uris(name, role, parts[role])]
        for name in _described_tables(job.options)
    }
    uris |= {"candidates": candidates, "matches": matches}
    uris["failures"] += place.files(place.folder, "verify-failures")
    uris["histories"], uris["groups"] = _group(job, place, uris) if search.symmetric else ([], [])
    relative = {name: [uri[len(job.output) + 1 :] for uri in found] for name, found in uris.items()}
    return Manifest(
        command=job.command,
        folder=folder,
        settings=job.settings,
        tables=relative,
        counts={name: sum(map(place.rows, found)) for name, found in uris.items()},
        seconds=dict(job.engine.seconds),
        quality=quality,
    )


def _proposals(
    job: Job, place: Workplace, search: Search, sides: tuple[Side, ...]
) -> tuple[Proposals, dict[str, float]]:
    """What both channels find, and what the search of descriptors loses."""
    options = job.options
    exclude: Any = "image" if search.symmetric else "none"
    neighbors: list[str] = []
    votes: list[str] = []
    quality: dict[str, float] = {}
    if "descriptor" in options.channels:
        searching = SearchOptions(
            k=_DESCRIPTOR_NEIGHBORS,
            exclude=exclude,
            connect_score=_COPY_SCORE if search.symmetric else float("inf"),
            capped_score=_COPY_SCORE,
        )
        index = _descriptor_index(options)
        model = job.models["descriptor"]
        neighbors = stages.search_descriptors(place, search, index, searching, model)
        quality = search_quality(place, search, neighbors, searching)
        # With so many likely copies there may be more, which only others' lists can tell.
        capped = saturated_queries(place.storage, neighbors)
        quality["search_capped_queries"] = float(capped)
    if "local" in options.channels:
        searching = _feature_search(search.symmetric)
        votes = stages.search_keypoints(place, search, _feature_index(options), searching)
        quality |= feature_quality(place, search, searching)
    proposals = Proposals(
        neighbors=tuple(neighbors),
        votes=tuple(votes),
        queries=sides[0],
        references=None if search.symmetric else sides[1],
        views=view_names(job.setup.options.views),
    )
    return proposals, quality


def _group(
    job: Job, place: Workplace, uris: Mapping[str, list[str]]
) -> tuple[list[str], list[str]]:
    """Group the verified pairs, in one step: only edges and image rows are held.

    The tables of the histories of copies, and of groups.
    """
    images, matches = (
        tables.read_tables(place.storage, uris[name], tables.SCHEMAS[name])
        for name in ("images", "matches")
    )
    wanted = pa.array(images_to_look_at(images, matches), pa.string())
    copies = images.filter(pc.is_in(images["image_id"], wanted)).sort_by("image_id")
    refs = [ImageRef(**row) for row in copies.select(_REF).to_pylist()]
    looked = stages.look_back(place, refs, DecodeOptions(job.options.max_megapixels))
    histories = tables.read_tables(place.storage, looked, tables.HISTORIES)
    options = GroupOptions(keep=job.options.keep, neighbors=job.options.k)
    members = group_copies(images, matches, options, histories)
    uri = runs.join(place.folder, "groups", runs.part_name(0))
    tables.write_table(place.storage, uri, tables.rows_to_table(members, tables.GROUPS))
    return looked, [uri]


def _described_tables(options: JobOptions) -> list[str]:
    by_channel = {"descriptor": "descriptors", "local": "keypoints"}
    return ["images", "failures", *(by_channel[channel] for channel in options.channels)]


def _describer_setup(options: JobOptions, device: str) -> DescriberSetup:
    described = DescriberOptions(
        views=ViewOptions.parse(options.views),
        keypoints=options.keypoints,
        decoding=DecodeOptions(options.max_megapixels),
    )
    model = options.model if "descriptor" in options.channels else None
    return DescriberSetup(described, model, options.background, device, "local" in options.channels)


def _models(setup: DescriberSetup) -> dict[str, str]:
    """The identities of what describes the images; ModelError where a file is no model, OptionError
    where the background is too small."""
    describer = setup.load()
    found = {}
    if describer.embedder is not None:
        found["descriptor"] = describer.embedder.identity
        background = describer.background
        normalize_vectors(background[:0], background, setup.options.background)
        found["background"] = hashlib.sha256(background.tobytes()).hexdigest()[:12]
    if describer.quantiser is not None:
        found["local"] = describer.quantiser.identity
    return found


def _descriptor_index(options: JobOptions) -> IndexOptions:
    return IndexOptions(
        codes=options.index, lists=options.lists, shards=options.shards, probes=options.probes
    )


def _feature_index(options: JobOptions) -> IndexOptions:
    return IndexOptions(
        codes="PQ16",
        metric="l2",
        shards=options.shards,
        probes=_FEATURE_PROBES,
        training_per_list=_FEATURES_PER_LIST,
    )


def _feature_search(symmetric: bool) -> SearchOptions:
    # A feature of the collection finds itself; what repeats in its picture says little.
    return SearchOptions(k=_FEATURE_NEIGHBORS + symmetric, task_queries=_FEATURE_QUERIES)


def _candidate_options(options: JobOptions) -> CandidateOptions:
    floor = float("inf") if options.min_score is None else options.min_score
    return CandidateOptions(options.k, floor, connect_similarity=_COPY_SCORE)


def _verify_options(options: JobOptions, references: int = _CROWD) -> VerifyOptions:
    calibration = options.calibration
    min_score, match_score = options.verify_score, options.match_score
    if references < _CROWD:
        # Too few images to tell how crowded it is around one: their scores mean nothing. All may
        # be copies of each other, and then none stands out.
        calibration = bundled_calibration(()) if calibration.channels else calibration
        min_score = match_score = -math.inf
    return VerifyOptions(
        min_score=min_score,
        matching=MatchOptions(
            min_confidence=options.min_confidence,
            match_score=match_score,
            features=max(MATCHED, options.keypoints, key=attrgetter("max_keypoints")),
        ),
        decoding=DecodeOptions(options.max_megapixels),
        calibration=calibration,
    )


def _tidy(job: Job, folder: str) -> None:
    """Remove what the committed run no longer needs: scratch files, and runs before it."""
    for name in _SCRATCH:
        job.storage.delete(runs.join(job.output, folder, name))
    job.storage.delete(runs.join(job.output, _LISTING))
    others = {
        uri[len(job.output) + 1 :].split("/")[0]
        for uri in (file.uri for file in job.storage.files_under(job.output))
    }
    for other in sorted(others - {folder}):
        if _RUN_FOLDER.fullmatch(other):
            job.storage.delete(runs.join(job.output, other))
