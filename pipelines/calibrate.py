"""The threshold for a wanted precision, on the user's own images.

A sample of the collection is edited, originals and copies are searched and verified as `dedup`
does it, and the decision's confidence is mapped to the share of pairs that are copies. OUT holds
calibration.json for dedup and calibration-match.json, calibration.svg, pairs.parquet with every
pair and its label, and the run's files, from which the same command continues or fits again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow as pa

from copydetect import runs, tables
from copydetect.candidates.fusion import Fusion
from copydetect.edits.copies import COPIES, CopyOptions
from copydetect.errors import OptionError
from copydetect.evaluation import plots
from copydetect.inputs.finding import find_sources
from copydetect.inputs.listing import LISTING, ListedImage, content_digest
from copydetect.options import DEFAULT_PRECISION, NO_CALIBRATION, EngineOptions, RunOptions
from copydetect.training.calibration_fit import LabelledPairs, fit_calibration, out_of_fold
from copydetect.training.calibration_pairs import (
    MadeCopy,
    StudyImages,
    StudyOptions,
    choose_images,
    label_pairs,
)
from copydetect.transforms.images_to_edits import EDITED, ImagesToEdits, edits_of_sample
from copydetect.verification.calibration import (
    FILE_NAMES,
    Calibration,
    Task,
    decision_digest,
)

from . import stages
from .job import Job, checked_job, listings_of
from .outputs import alone_in
from .stages import Listing, Workplace
from .whole_run import search_and_verify

_PLOT, _PAIRS = "calibration.svg", "pairs.parquet"
_FEW_IMAGES = 200


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate` found for each task, and the folder that it is in."""

    output: str
    precision: float
    found: Mapping[Task, Calibration]

    def __str__(self) -> str:
        return "\n".join(_report(self.output, self.found))

    @property
    def threshold(self) -> str:
        """Where the wanted precision starts, in words; OptionError where it is not reached."""
        point = self.found["dedup"].point_for(self.precision)
        return f"precision {self.precision:g} starts at a confidence of {point.threshold:.3f}"


def calibrate(
    photos: Sequence[str],
    output: str,
    study: StudyOptions,
    options: RunOptions,
    engine_options: EngineOptions,
    use_score: bool = True,
) -> Calibrated:
    """Calibrate confidences on a collection; the files are in `output`.

    options: of the search and verification; their calibration is not used. Its `precision` is the
    one that is wanted. use_score: whether the search's score counts beside the confidence.
    """
    precision = DEFAULT_PRECISION if options.precision is None else options.precision
    uncalibrated = options.changed(calibration=NO_CALIBRATION, precision=None)
    job = checked_job("calibrate", {"image": photos}, output, uncalibrated, engine_options)
    with alone_in(job.output):
        pairs, sample = _labelled(job, study)
        found = _fitted(job, pairs, sample, use_score)
        _write(job, pairs, found)
    return Calibrated(job.output, precision, found)


def _labelled(job: Job, options: StudyOptions) -> tuple[LabelledPairs, dict[str, Any]]:
    """Search originals among their copies; the pairs, and what they were made of."""
    (everything,) = listings_of(job)
    listed = tables.read_tables(job.storage, everything.uris, LISTING).to_pylist()
    chosen = choose_images((ListedImage(**row) for row in listed), options)
    if len(chosen.collection) < _FEW_IMAGES:
        # Few images have few strangers worth a look, and without any there is nothing to learn.
        job = replace(job, settings=replace(job.settings, verify_score=-math.inf))
    study = tables.rows_to_table(chosen.collection, LISTING)
    digest = content_digest([study])
    # How pairs are labelled changes nothing in what is searched.
    searched = str(replace(options, distinct=False))
    folder = runs.run_folder_name({**job.decisive, "study": searched}, digest)
    place = Workplace(job.storage, runs.join(job.output, folder), job.engine)
    _forget_verdicts(place)
    made = _make_copies(place, chosen, options)
    uri = runs.join(place.folder, "sample", "collection.parquet")
    tables.write_table(job.storage, uri, study)
    listing = _with_copies(place, Listing("image", len(study), digest, (uri,)))
    manifest = search_and_verify(job, place, folder, [listing])
    matches = tables.read_tables(
        job.storage, manifest.table_uris(job.output, "matches"), tables.MATCHES
    )
    pairs, left_out = label_pairs(matches, made, options.distinct)
    job.storage.delete(runs.join(job.output, "listing"))
    return pairs, {
        "images": len(study),
        "copies": len(made),
        "pairs": int(pairs.found.sum()),
        "left_out": left_out,
        "seed": options.seed,
        "mixes": options.mixes,
        "copies_by_each_mix": options.copies,
        "distinct": options.distinct,
        "effort": job.settings.effort,
        "models": job.models,
        "originals": sorted({copy.original_id for copy in made}),
    }


def _forget_verdicts(place: Workplace) -> None:
    """Remove what another decision, or other weights of the channels, have left."""
    marker = runs.join(place.folder, "verdicts.txt")
    made_by = f"{decision_digest()} {Fusion()}".encode()
    if place.storage.exists(marker) and place.storage.read(marker) != made_by:
        for name in ("search/candidates", "candidates", "pairs", "matches"):
            place.storage.delete(runs.join(place.folder, name))
    place.storage.write(marker, made_by)


def _make_copies(place: Workplace, study: StudyImages, options: StudyOptions) -> list[MadeCopy]:
    """Edit the sample, each mix a part of it."""
    made: list[MadeCopy] = []
    pasted = tuple(image.ref for image in study.pasted)
    for number, mix in enumerate(options.mixes):
        images = study.edited_by(number, len(options.mixes))
        copies = CopyOptions(options.copies, options.seed, mix)
        job, uri, parts = edits_of_sample(place, images, copies, pasted)
        uris = job.part_uris("copies", parts)
        wanted = place.unfinished([[part_uri] for part_uri in uris])
        transform = ImagesToEdits(job, parts, wanted, place.started)
        place.engine.run(f"edit ({mix})", partial(_edit, uri=uri, transform=transform))
        for row in tables.read_tables(place.storage, uris, COPIES).to_pylist():
            kinds = (*row["edits"].split("+"), f"mix {mix}")
            made.append(MadeCopy(f"{mix}/{row['query_id']}", row["reference_id"], kinds))
    return made


def _edit(pipeline: beam.Pipeline, uri: str, transform: ImagesToEdits) -> None:
    _ = pipeline | beam.Create([None, uri]) | transform


def _with_copies(place: Workplace, originals: Listing) -> Listing:
    """The listing of originals and copies together."""
    sources = find_sources(place.storage, runs.join(place.folder, EDITED))
    listed = Workplace(place.storage, runs.join(place.folder, "copies-listing"), place.engine)
    copies = stages.list_images(listed, sources, "image")
    return Listing(
        "image",
        originals.images + copies.images,
        originals.digest + copies.digest,
        (*originals.uris, *copies.uris),
    )


def _fitted(
    job: Job, pairs: LabelledPairs, sample: dict[str, Any], use_score: bool
) -> dict[Task, Calibration]:
    """By task; none for match where too few pairs are left of it. OptionError without dedup's."""
    found: dict[Task, Calibration] = {}
    for task in FILE_NAMES:
        try:
            fitted = fit_calibration(pairs.of(task), job.settings.channels, use_score)
        except OptionError:
            if task == "dedup":
                raise
            continue
        found[task] = replace(fitted, sample=sample)
    return found


def _write(job: Job, pairs: LabelledPairs, found: Mapping[Task, Calibration]) -> None:
    calibration = found["dedup"]
    probabilities = out_of_fold(pairs, calibration)
    columns = {name: values for name, values in vars(pairs).items() if name != "kinds"}
    kinds = pa.array([list(kinds) for kinds in pairs.kinds], pa.list_(pa.string()))
    table = pa.table({**columns, "probabilities": probabilities, "kinds": kinds})
    tables.write_table(job.storage, runs.join(job.output, _PAIRS), table)
    drawn = plots.calibration_svg(
        probabilities[pairs.found], pairs.labels[pairs.found], int(pairs.labels.sum())
    )
    job.storage.write(runs.join(job.output, _PLOT), drawn)
    for task, fitted in found.items():
        fitted.save(job.storage, runs.join(job.output, FILE_NAMES[task]))


def _report(output: str, found: Mapping[Task, Calibration]) -> list[str]:
    """What was found, in a few lines."""
    sample = found["dedup"].sample
    lines = [
        f"{sample['copies']:,} copies among {sample['images']:,} images, {sample['pairs']:,} pairs "
        "looked at"
    ]
    lines += [f"left out: {count:,} pairs, {why}" for why, count in sample["left_out"].items()]
    if sample["images"] < _FEW_IMAGES:
        lines.append(
            f"only {sample['images']} images: the intervals are wide, and a larger collection has "
            "more that look alike"
        )
    for task, calibration in found.items():
        lines += _thresholds(task, calibration)
    if "match" not in found:
        lines.append("match: too few pairs for a calibration of its own; it takes dedup's")
    return [*lines, f"calibration {runs.join(output, FILE_NAMES['dedup'])}"]


def _thresholds(task: Task, calibration: Calibration) -> list[str]:
    error = calibration.reliability["expected_calibration_error"]
    lines = [f"{task}: expected calibration error {error:.3f}"]
    for precision, point in calibration.thresholds.items():
        if not point["reached"]:
            lines.append(f"  precision {precision:<6} not reached")
            continue
        lines.append(
            f"  precision {precision:<6} from confidence {point['threshold']:.3f} "
            f"({point['threshold_low']:.3f} … {point['threshold_high']:.3f}), "
            f"measured {point['precision']:.3f} ({point['precision_low']:.3f} … "
            f"{point['precision_high']:.3f}), recall {point['recall']:.3f}"
        )
    return lines
