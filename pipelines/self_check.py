"""A run's test of itself: planted copies are searched and verified like its queries.

    sample of the collection → edited copies → described → searched → verified → threshold

They ask the indexes that the run has built for its own images, and are in none of them: no image's
neighbours, density or group knows of them. Their files are below RUN/check. The result is
RUN/check.json, which a later run over nearly the same collection takes over.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.candidates.densities import DensityOptions
from copydetect.candidates.pair_numbers import PairNumbers, read_pairs, write_pairs
from copydetect.edits.copies import COPIES, CopyOptions
from copydetect.errors import InputError
from copydetect.evaluation.planted import (
    LEAST_IMAGES,
    NEARLY_CERTAIN,
    Met,
    PlantedCopy,
    PlantedEvidence,
    copies_to_plant,
    judged,
    sampling_points,
    sketch_of,
)
from copydetect.inputs.finding import find_sources
from copydetect.inputs.listing import LISTING, ListedImage
from copydetect.options import DEFAULT_PRECISION
from copydetect.parts import RoleParts, Sides, part_count, part_of
from copydetect.runs import Manifest
from copydetect.self_check import SelfCheck
from copydetect.settings import Settings
from copydetect.storage.files import Storage
from copydetect.transforms.candidates_to_matches import CandidatesToMatches, MatchWork
from copydetect.transforms.images_to_edits import EditsJob, ImagesToEdits
from copydetect.transforms.refs_to_descriptions import DescriberSetup
from copydetect.types import Candidate
from copydetect.verification.calibration import IDENTITY, bundled_calibration, decision_digest

from . import stages
from .proposals import searching
from .stages import Workplace

RESULT, SCRATCH = "check.json", "check"
_MIXES = ("mild", "default", "severe")
_LOOKED_AT = 0.1
"""A pair of a planted copy and another image, from this confidence up, is a reason to ask whether
that image is a copy of the original, too."""
_PAIRS_TOGETHER = 16
_LIKELY = 0.5
_MOST_THROUGH = 4
"""Through how many known copies of an original another image is compared, at most."""
_OF_THE_RESULT = (
    *("precision", "min_confidence", "least_confidence", "count"),
    *("keep", "prefer", "protect", "suggest"),
)
"""Settings that change nothing in what is found of planted copies."""


@dataclass(frozen=True)
class CheckedRun:
    """The run that checks itself: its place, settings and models, and its described references.

    output: where an earlier run may have left what it found; pile: whether the references are
    searched for themselves.
    """

    place: Workplace
    output: str
    settings: Settings
    setup: DescriberSetup
    models: dict[str, str]
    references: RoleParts
    pile: bool

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
    found = judged(evidence, wanted, least, planted_by, settings.calibration, run.pile)
    return replace(found, reused=reused)


def _too_few(run: CheckedRun) -> str:
    """Why no copies are planted; nothing where they are."""
    readable = 0
    for uri in run.references.image_files:
        status = tables.read_table(run.place.storage, uri, ["status"])["status"]
        readable += int(pc.sum(pc.equal(status, "ok")).as_py() or 0)
    if not readable:
        return "no image could be read"
    if readable >= LEAST_IMAGES:
        return ""
    counted = "there is 1 image" if readable == 1 else f"there are {readable:,} different images"
    return (
        f"{counted}, and it takes {LEAST_IMAGES} to check with; the threshold is that of the "
        "bundled calibration"
    )


def _evidence(run: CheckedRun) -> tuple[PlantedEvidence, bool]:
    """What became of planted copies, and whether an earlier run planted them."""
    storage = run.place.storage
    sketch = sketch_of(_hashes(storage, run.references))
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
    place = Workplace(engine, run.place.storage, folder, asks=run.place.index)
    # What an interrupted run has left may be of another sample: more images can be read by now.
    place.storage.delete(place.folder)
    sample = _sample(run)
    made = _make_copies(place, list(sample.values()))
    if not made:
        return PlantedEvidence(run.digest, sketch, (), (), (), 0)
    sources = find_sources(place.storage, runs.join(place.folder, "edited"))
    listing = stages.list_images(place, sources, "query")
    described = stages.describe(place, listing, run.setup)
    sides = Sides(described.made, run.references)
    searches, found = searching(place, run.settings, run.models, sides)
    proposed = stages.propose(place, found, run.settings.candidates, DensityOptions())
    # Planted copies are queries, whatever the run's own pairs are.
    calibration = bundled_calibration(run.settings.channels, "match", run.settings.effort)
    options = replace(run.settings.verification, calibration=calibration)
    verified = stages.verify(place, sides, proposed.made, options)
    engine.run_stages("search", [described, *searches, proposed, verified])
    matches = tables.read_tables(place.storage, verified.made, tables.MATCHES)
    return _told_apart(run, place, sketch, made, matches, proposed.made, sample)


def _sample(run: CheckedRun) -> dict[int, ListedImage]:
    """The images that copies are made of, by their number: the same whatever the input's order."""
    side, storage = run.references, run.place.storage
    starts = side.starts
    wanted = copies_to_plant(side.images)
    held: dict[int, pa.Table] = {}
    sample: dict[int, ListedImage] = {}
    for point in sampling_points(wanted):
        part = part_of(point, side.parts)
        for number in (*range(part, side.parts), *range(part)):
            if number not in held:
                held[number] = tables.read_table(storage, side.image_files[number])
            rows = held[number]
            fits = pc.equal(rows["status"], "ok")
            if number == part:
                fits = pc.and_(fits, pc.greater_equal(rows["sha256"], point))
            at = pc.index(fits, True).as_py()
            if at >= 0:
                row = rows.slice(at, 1).to_pylist()[0]
                kept = {name: row[name] for name in ("image_id", "role", "uri", "member", "sha256")}
                sample[int(starts[number]) + at] = ListedImage(**kept, bytes=row["bytes"] or 0)
                break
        if len(sample) == wanted:
            break
    return sample


def _make_copies(place: Workplace, images: Sequence[ListedImage]) -> dict[str, tuple[str, str]]:
    """Edit each image by one of the mixes: the copies' image_ids, with originals and kinds."""
    jobs: list[tuple[EditsJob, str, int]] = []
    for number, mix in enumerate(_MIXES):
        listed = images[number :: len(_MIXES)]
        uri = runs.join(place.folder, "sample", f"{mix}.parquet")
        tables.write_table(place.storage, uri, tables.rows_to_table(listed, LISTING))
        edited, folder = (runs.join(place.folder, name, mix) for name in ("edited", "edits"))
        job = EditsJob(place.storage, CopyOptions(mix=mix), edited, folder)
        jobs.append((job, uri, part_count(max(len(listed), 1))))
    place.engine.run("edit", partial(_edit, jobs=jobs, place=place))
    made: dict[str, tuple[str, str]] = {}
    for (job, _, parts), mix in zip(jobs, _MIXES, strict=True):
        uris = [job.part_uri("copies", part) for part in range(parts)]
        for row in tables.read_tables(place.storage, uris, COPIES).to_pylist():
            made[f"{mix}/{row['query_id']}"] = row["reference_id"], row["edits"]
    return made


def _edit(
    pipeline: beam.Pipeline, jobs: Sequence[tuple[EditsJob, str, int]], place: Workplace
) -> None:
    for job, uri, parts in jobs:
        name = job.options.mix
        edit = ImagesToEdits(job, parts, range(parts), place.started)
        _ = pipeline | f"listed {name}" >> beam.Create([uri]) | name >> edit


def _told_apart(
    run: CheckedRun,
    place: Workplace,
    sketch: tuple[str, ...],
    made: dict[str, tuple[str, str]],
    matches: pa.Table,
    candidates: Sequence[str],
    sample: dict[int, ListedImage],
) -> PlantedEvidence:
    """The pairs of copies with their originals, and those with images that are none of theirs."""
    found = dict.fromkeys(made, 0.0)
    met: list[Met] = []
    columns = (matches[name].to_pylist() for name in ("query_id", "reference_id", "confidence"))
    for copy_id, reference_id, confidence in zip(*columns, strict=True):
        original_id = made[copy_id][0]
        if reference_id == original_id:
            found[copy_id] = confidence
        else:
            met.append(Met(original_id, reference_id, confidence))
    numbers = {image.image_id: number for number, image in sample.items()}
    numbers |= _numbers(place, candidates)
    likely = {(one.original_id, one.reference_id) for one in met if one.confidence >= _LOOKED_AT}
    known = _copies_all_along(run, place, sorted(likely), numbers)
    sureness = [known.get((one.original_id, one.reference_id), 0.0) for one in met]
    strangers = [one for one, sure in zip(met, sureness, strict=True) if not sure]
    certain = [
        one.confidence for one, sure in zip(met, sureness, strict=True) if sure >= NEARLY_CERTAIN
    ]
    copies = tuple(
        PlantedCopy(original_id, tuple(kinds.split("+")), found[copy_id])
        for copy_id, (original_id, kinds) in made.items()
    )
    left_out = len(met) - len(strangers)
    return PlantedEvidence(run.digest, sketch, copies, tuple(strangers), tuple(certain), left_out)


def _numbers(place: Workplace, candidates: Sequence[str]) -> dict[str, int]:
    """image_id → image_no of the references among candidates."""
    numbers: dict[str, int] = {}
    for part, uri in enumerate(candidates):
        ids = tables.read_table(place.storage, uri, ["reference_id"])["reference_id"].to_pylist()
        pairs = read_pairs(
            place.storage, runs.join(place.folder, "pairs", runs.part_name(part, "npz"))
        )
        numbers |= dict(zip(ids, pairs.reference.tolist(), strict=True))
    return numbers


def _copies_all_along(
    run: CheckedRun,
    place: Workplace,
    pairs: Sequence[tuple[str, str]],
    numbers: dict[str, int],
) -> dict[tuple[str, str], float]:
    """Confidences of pairs of the collection's own, unedited images that are copies, by themselves
    or through a third image.

    Heavy edits of one picture have little in common, but each has more with one that is closer to
    it. A pile holds many of them, so that in it a likely copy is not held against a planted one.
    """
    least = _LIKELY if run.pile else NEARLY_CERTAIN
    proofs = _proofs(run, place, pairs, numbers, "known")
    known = {pair: proof for pair, proof in proofs.items() if proof >= least}
    copies: dict[str, list[str]] = defaultdict(list)
    for original_id, copy_id in sorted(known):
        copies[original_id].append(copy_id)
    through = {
        (copy_id, other): (original_id, other)
        for original_id, other in pairs
        if (original_id, other) not in known
        for copy_id in copies[original_id][:_MOST_THROUGH]
    }
    chained = _proofs(run, place, sorted(through), numbers, "known-through")
    return known | {through[pair]: proof for pair, proof in chained.items() if proof >= least}


def _proofs(
    run: CheckedRun,
    place: Workplace,
    pairs: Sequence[tuple[str, str]],
    numbers: dict[str, int],
    name: str,
) -> dict[tuple[str, str], float]:
    """What pixels say of pairs of the collection's own images. name: of a folder for them."""
    folder = runs.join(place.folder, name)
    work: list[MatchWork] = []
    for part, start in enumerate(range(0, len(pairs), _PAIRS_TOGETHER)):
        some = pairs[start : start + _PAIRS_TOGETHER]
        ends = np.array([[numbers[one], numbers[other]] for one, other in some], np.int64)
        table = runs.join(folder, "candidates", runs.part_name(part))
        rows = [_unscored(*pair) for pair in some]
        tables.write_table(place.storage, table, tables.rows_to_table(rows, tables.CANDIDATES))
        starts, points = np.zeros(len(some) + 1, np.int64), np.empty((0, 4), np.float32)
        uri = runs.join(folder, "pairs", runs.part_name(part, "npz"))
        write_pairs(place.storage, uri, PairNumbers(ends[:, 0], ends[:, 1], starts, points))
        work.append((part, table, uri))
    if not work:
        return {}
    # What pixels show decides alone: of these pairs the search may know nothing.
    options = replace(run.settings.verification, min_score=-math.inf, calibration=IDENTITY)
    both = Sides(run.references, run.references)
    verify = CandidatesToMatches(place.storage, both, options, folder, place.started)
    place.engine.run("verify", lambda pipeline: pipeline | beam.Create(work) | verify)
    uris = [runs.join(folder, "matches", runs.part_name(part)) for part, _, _ in work]
    matches = tables.read_tables(place.storage, uris, tables.MATCHES)
    columns = (matches[name].to_pylist() for name in ("query_id", "reference_id", "confidence"))
    return {(one, other): proof for one, other, proof in zip(*columns, strict=True)}


def _unscored(query_id: str, reference_id: str) -> Candidate:
    silent = (math.nan,) * 4
    return Candidate(query_id, reference_id, *silent, 0.0, "", "", 0)
