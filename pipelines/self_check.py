"""A run's test of itself: planted copies are searched and verified like its queries.

    sample of the collection → edited copies → described → searched → verified → threshold

They ask the indexes that the run has built for its own images, and are in none of them: no image's
neighbours, density or group knows of them. Their files are below RUN/check. The result is
RUN/check.json, which a later run over nearly the same collection takes over.

Of a small collection on an engine, one worker does all of it, as a stage of the run's only job: a
job of its own would start all workers anew.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow.compute as pc
from apache_beam.pvalue import PCollection

from copydetect import runs, tables
from copydetect.edits.copies import CopyOptions
from copydetect.errors import InputError
from copydetect.evaluation.planted import (
    LEAST_IMAGES,
    LIKELY_SCORE,
    PlantedEvidence,
    copies_to_plant,
    judged,
    share_of_copies,
    sketch_of,
)
from copydetect.evaluation.planted_pairs import KNOWN, THROUGH, PlantedPairs, pairs_to_prove
from copydetect.evaluation.planted_sample import images_to_edit
from copydetect.inputs.finding import find_sources
from copydetect.inputs.sources import Source
from copydetect.json_values import parse_as
from copydetect.options import DEFAULT_PRECISION
from copydetect.parts import RoleParts, Sides, part_count
from copydetect.runs import Manifest
from copydetect.self_check import SelfCheck
from copydetect.settings import Settings
from copydetect.storage.files import Storage
from copydetect.transforms.candidates_to_matches import CandidatesToMatches
from copydetect.transforms.images_to_edits import EDITED, EditsJob, ImagesToEdits, edits_of_sample
from copydetect.transforms.images_to_refs import PiecesToRefs
from copydetect.transforms.refs_to_descriptions import DescriberSetup, RefsToDescriptions
from copydetect.transforms.waiting import Then, WaitThen
from copydetect.verification.calibration import (
    IDENTITY,
    Calibration,
    bundled_calibration,
    decision_digest,
)
from copydetect.verification.match_parts import VerifyOptions

from . import stages
from .chains import Stage
from .progress import Progress
from .search_stages import searching
from .stages import Workplace

RESULT, SCRATCH = "check.json", "check"
_MIXES = ("mild", "default", "severe")
_PARTS_COUNTED = 64
_OF_THE_RESULT = (
    *("precision", "min_confidence", "least_confidence", "count"),
    *("keep", "prefer", "protect", "suggest"),
)
"""Settings that change nothing in what is found of planted copies."""


@dataclass(frozen=True)
class CheckedRun:
    """The run that checks itself: its place, settings and models, and its described images.

    output: where an earlier run may have left what it found; candidates: the tables of its own
    candidates, by part of the queries.
    """

    place: Workplace
    output: str
    settings: Settings
    setup: DescriberSetup
    models: dict[str, str]
    sides: Sides
    candidates: Sequence[str]

    @property
    def digest(self) -> str:
        """Of what decides what becomes of planted copies, the collection aside."""
        decisive = {
            name: value
            for name, value in self.settings.for_manifest().items()
            if name not in _OF_THE_RESULT
        }
        text = json.dumps([decision_digest(), self.models, decisive, _MIXES], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def references_gathered(self) -> str:
        """Where its own merging has gathered what is looked up of its references."""
        found = self.place.proposals(self.sides, self.settings.channels)
        return self.place.candidate_job(found, self.settings.candidates).side_folder(1)


def may_be_checked(images: int) -> bool:
    """Whether so many images may be enough to check with, as far as they can be read."""
    return images >= LEAST_IMAGES


def self_check(run: CheckedRun) -> SelfCheck:
    """Set the threshold for the wanted precision by copies that are planted in the run.

    Where too few images can be read, it is the bundled calibration's, and the check says so.
    """
    settings = run.settings
    wanted = DEFAULT_PRECISION if settings.precision is None else settings.precision
    unchecked = _too_few(run)
    if unchecked:
        return SelfCheck(wanted, settings.min_confidence, unchecked=unchecked)
    evidence, reused = _evidence(run)
    if not evidence.copies:
        why = "none of the images that copies were to be made of could be edited"
        return SelfCheck(wanted, settings.min_confidence, unchecked=why)
    planted_by = bundled_calibration(settings.channels, "match", settings.effort)
    least = settings.least_confidence
    # Even odds are the least where nobody asked for a precision; see `Settings`.
    asked = least == 0
    share = None if run.sides.symmetric else share_of_copies(evidence, *_likely_queries(run))
    found = judged(evidence, wanted, least, planted_by, settings.calibration, share, asked)
    return replace(found, reused=reused)


def checking(run: CheckedRun) -> Stage[str]:
    """The check as a stage that one worker does; where it notes what it has found."""
    noted = run.place.counts_uri("check")
    there = replace(run.place, engine=run.place.engine.of_a_worker())
    check = Then(_note, replace(run, place=there), noted)
    return Stage("check", lambda start: start | check, noted, Progress("check"), alone=True)


def _note(run: CheckedRun, uri: str) -> None:
    run.place.storage.write(uri, json.dumps(asdict(self_check(run))).encode())


def read_noted(storage: Storage, uri: str) -> SelfCheck:
    """What the stage has noted."""
    return parse_as(SelfCheck, storage.read(uri))


def noted_threshold(storage: Storage, uri: str) -> float:
    """The threshold that it has set."""
    return read_noted(storage, uri).threshold


def _too_few(run: CheckedRun) -> str:
    """Why no copies are planted; nothing where they are."""
    readable = 0
    for uri in run.sides.references.image_files:
        status = tables.read_table(run.place.storage, uri, ["status"])["status"]
        readable += int(pc.sum(pc.equal(status, "ok")).as_py() or 0)
        if readable >= LEAST_IMAGES:
            return ""
    if not readable:
        return "no image could be read"
    counted = "there is 1 image" if readable == 1 else f"there are {readable:,} different images"
    return (
        f"{counted}, and it takes {LEAST_IMAGES} to check with; the threshold is that of the "
        "bundled calibration"
    )


def _likely_queries(run: CheckedRun) -> tuple[int, int]:
    """How many of the run's queries the search takes for copies, and of how many; of at most
    `_PARTS_COUNTED` parts. Of queries in a crowd it cannot tell: they are not counted."""
    likely = queries = 0
    step = max(1, math.ceil(len(run.candidates) / _PARTS_COUNTED))
    for part in range(0, len(run.candidates), step):
        images = run.sides.queries.image_files[part]
        status = tables.read_table(run.place.storage, images, ["status"])["status"]
        queries += int(pc.sum(pc.equal(status, "ok")).as_py() or 0)
        names = ["query_id", "score", "crowded"]
        found = tables.read_table(run.place.storage, run.candidates[part], names)
        queries -= len(pc.unique(found.filter(found["crowded"])["query_id"]))
        sure = found.filter(pc.greater_equal(found["score"], LIKELY_SCORE))
        likely += len(pc.unique(sure["query_id"]))
    return likely, queries


def _evidence(run: CheckedRun) -> tuple[PlantedEvidence, bool]:
    """The evidence of planted copies, and whether an earlier run planted them."""
    storage = run.place.storage
    sides = run.sides[1:] if run.sides.symmetric else run.sides
    sketch = sketch_of(heapq.merge(*(_hashes(storage, side) for side in sides)))
    uri = runs.join(run.place.folder, RESULT)
    for known, earlier in ((uri, False), (_earlier_result(run), True)):
        evidence = _stored(storage, known)
        if evidence is not None and evidence.holds_for(run.digest, sketch):
            storage.write(uri, evidence.to_json())
            return evidence, earlier
    evidence = _plant(run, sketch)
    storage.write(uri, evidence.to_json())
    return evidence, False


def _earlier_result(run: CheckedRun) -> str:
    """What the finished run in OUT has left of its check; nothing where there is none."""
    try:
        earlier = Manifest.load(run.place.storage, run.output)
    except InputError:
        return ""
    return runs.join(run.output, earlier.folder, RESULT)


def _stored(storage: Storage, uri: str) -> PlantedEvidence | None:
    if not uri or not storage.exists(uri):
        return None
    try:
        return PlantedEvidence.parse(storage.read(uri))
    except ValueError:
        return None  # damaged: it is found out again


def _hashes(storage: Storage, side: RoleParts) -> Iterator[str]:
    """Of the images' bytes, ascending: parts are ranges of them."""
    for uri in side.image_files:
        for value in tables.read_table(storage, uri, ["sha256"])["sha256"].to_pylist():
            if value:
                yield value


def _plant(run: CheckedRun, sketch: tuple[str, ...]) -> PlantedEvidence:
    """Make copies, search them in the run's references, and see what is found."""
    engine = replace(run.place.engine, under="check")
    folder = runs.join(run.place.folder, SCRATCH)
    place = Workplace(run.place.storage, folder, engine, asks=run.place.index)
    # What an interrupted run has left may be of another sample: more images can be read by now.
    place.storage.delete(place.folder)
    candidates = run.place.parts_of("pairs", run.sides.queries.parts, "npz")
    wanted = copies_to_plant(run.sides.references.images)
    sample = images_to_edit(run.place.storage, run.sides, candidates, wanted)
    images = list(sample.values())
    # Each image is edited by one of the mixes.
    jobs = [
        edits_of_sample(place, images[number :: len(_MIXES)], CopyOptions(mix=mix))
        for number, mix in enumerate(_MIXES)
    ]
    described = _describe(place, run.setup, len(sample))
    sides = Sides(described.made, run.sides.references)
    searches, found = searching(place, run.settings, run.models, sides)
    found = replace(found, gathered=run.references_gathered)
    proposed = stages.propose(place, found, run.settings.candidates)
    # Planted copies are queries, whatever the run's own pairs are.
    calibration = bundled_calibration(run.settings.channels, "match", run.settings.effort)
    verified = stages.verify(place, sides, proposed.made, _verifying(run, calibration))
    pairs = PlantedPairs(
        storage=place.storage,
        folder=place.folder,
        copies={job.options.mix: job.part_uris("copies", parts) for job, _, parts in jobs},
        candidates=tuple(proposed.made),
        matches=tuple(verified.made),
        numbers={image.image_id: number for number, image in sample.items()},
        pile=run.sides.symmetric,
    )
    light = place.together([*searches, proposed], sides)
    chain: list[Stage[Any]] = [_edit(place, jobs), described, *light, verified]
    chain += [_prove(run, pairs, name) for name in (KNOWN, THROUGH)]
    engine.run_stages("search", chain, max(side.parts for side in sides))
    return pairs.evidence(run.digest, sketch)


def _edit(place: Workplace, jobs: Sequence[tuple[EditsJob, str, int]]) -> Stage[None]:
    def build(start: PCollection[Any]) -> PCollection[Any]:
        for job, uri, parts in jobs:
            mix = job.options.mix
            edit = ImagesToEdits(job, parts, range(parts), place.started)
            start = start | f"listing {mix}" >> WaitThen(tuple, (uri,)) | mix >> edit
        return start

    return Stage("edit", build, None, Progress("edit"))


def _describe(place: Workplace, setup: DescriberSetup, copies: int) -> Stage[RoleParts]:
    """List and describe the copies, once they are there."""
    parts = part_count(max(copies, 1))
    storage, folder, processes = place.storage, place.folder, place.started
    find = Then(_pieces, storage, runs.join(folder, EDITED))
    listing = PiecesToRefs(storage, "query", runs.join(folder, "listing"), processes)
    describe = RefsToDescriptions(storage, setup, "query", folder, parts, range(parts), processes)

    def build(start: PCollection[Any]) -> PCollection[Any]:
        described: PCollection[Any] = start | "find" >> find | "list" >> listing | describe
        return described

    made = place.described("query", parts, setup.channels)
    return Stage("describe", build, made, Progress("describe"))


def _pieces(storage: Storage, folder: str) -> list[tuple[int, Source]]:
    """The copies that could be made, in pieces."""
    if not storage.files_under(folder):
        return []
    return list(enumerate(find_sources(storage, folder).pieces))


def _verifying(run: CheckedRun, calibration: Calibration) -> VerifyOptions:
    """As the run verifies, as far as it decides how confident a match is."""
    options = run.settings.verification
    matching = replace(options.matching, history=False)
    return replace(options, matching=matching, calibration=calibration)


def _prove(run: CheckedRun, pairs: PlantedPairs, name: str) -> Stage[None]:
    """Compare images of the collection, unedited: what pixels show decides alone, since the search
    may know nothing of them."""
    options = replace(_verifying(run, IDENTITY), min_score=-math.inf)
    both, folder = Sides(run.sides.references, run.sides.references), runs.join(pairs.folder, name)
    verify = CandidatesToMatches(pairs.storage, both, options, folder, run.place.started)
    plan = Then(pairs_to_prove, pairs, name)
    return Stage(name, lambda start: start | "pairs" >> plan | verify, None, Progress(name))
