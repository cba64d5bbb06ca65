"""`copydetect benchmark verify`: pairs a second, accuracy, transforms, and what evidence is worth.

The whole job runs first, so that time and accuracy are those of `match` or `dedup`. Then all
evidence is collected on the same candidates, none left out because a pair is decided already, and
one decision a variant is learnt from it by cross-validation on these very pairs: what a part is
worth is judged by decisions that differ in nothing else. They are not the bundled decision, which
was trained on other pictures, so compare them among each other.
"""

from __future__ import annotations

import json
import math
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from copydetect import runs
from copydetect.edits import KINDS, geometry, rng_of
from copydetect.evaluation.ground_truth import GroupTruth, PairTruth, match_ids, read_truth
from copydetect.evaluation.rankings import rank_pairs, ranking_figures
from copydetect.homographies import project
from copydetect.images.decoding import DecodeOptions
from copydetect.index.channels import stored_keypoints
from copydetect.inputs.input_specs import Inputs
from copydetect.options import EngineOptions
from copydetect.parts import RoleParts
from copydetect.runs import Manifest
from copydetect.storage.files import LocalStorage
from copydetect.storage.scratch import scratch_folder
from copydetect.training.decision import FOLDS, first_choice, out_of_fold
from copydetect.types import Candidate, Failure, Role
from copydetect.verification.evidence import NAMES
from copydetect.verification.match_parts import PairImages, VerifyOptions, opened_pairs
from copydetect.verification.matches import collect_evidence, prepare_image, verify_pair
from copydetect.workers.threads import work_in_one_thread

from .. import stages
from ..job import Job, checked_job, listings_of
from ..run_arguments import run_options
from ..stages import Workplace
from ..whole_run import search_and_verify
from .vectors import decoded

_USUAL_WORKERS = 2
SCORES = ("similarity", "descriptor_score", "votes", "local_score", "score")
GEOMETRY = (
    "inliers",
    "inlier_share",
    "error_px",
    "rival_inliers",
    "regions",
    "query_spread",
    "reference_spread",
    "log2_scale",
    "log2_stretch",
    "perspective",
    "direct",
)
DETAIL = (
    "fine_correlation",
    "fine_share",
    "patch_fine_correlation",
    "fine_ratio",
    "shift_px",
    "shift_spread_px",
    "blur_px",
)
SHAPE = ("solidity", "largest_patch", "largest_hole", "patch_solidity", "patch_correlation")
PIXELS = tuple(name for name in NAMES if name not in GEOMETRY)
_STORAGE = LocalStorage()
_PICTURES, _SIDE_PX = 200, 640
_UNKNOWN = Candidate("", "", math.nan, math.nan, math.nan, math.nan, 0.0, "", "", 1)

Floats = npt.NDArray[np.float32]
Kept = Callable[[Floats], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Variant:
    """What a decision sees: columns that it does without, and which alignments it may choose."""

    name: str
    without: tuple[str, ...] = ()
    alignments: Kept = lambda rows: np.ones(len(rows), bool)


VARIANTS = (
    Variant("everything"),
    Variant("without the search's scores", SCORES),
    Variant("without geometry", GEOMETRY),
    Variant("without pixels", PIXELS),
    Variant("without fine detail and displacement", DETAIL),
    Variant("without the shape of what agrees", SHAPE),
    Variant("without direct alignment", (), lambda rows: rows[:, NAMES.index("direct")] == 0),
    Variant(
        "the search's correspondences only", (), lambda rows: rows[:, NAMES.index("regions")] == 0
    ),
    Variant("the search's scores only", NAMES),
)


@dataclass(frozen=True)
class Collected:
    """A candidate with everything that speaks for it.

    evidence: (alignments, len(NAMES)), a row of NaN where nothing does; scores: (len(SCORES),).
    """

    query_id: str
    reference_id: str
    evidence: Floats
    scores: Floats


def run(arguments: Namespace, engine: EngineOptions) -> None:
    """Measure, and print a table and JSON."""
    truth = read_truth(_STORAGE, arguments.truth)
    inputs: dict[Role, Inputs] = {"image": arguments.queries}
    if arguments.references is not None:
        inputs = {"query": arguments.queries, "reference": arguments.references}
    command = "dedup" if arguments.references is None else "match"
    silent = replace(engine, workers=engine.workers or _USUAL_WORKERS, progress=False)
    options = run_options(arguments, report=False, max_failed_fraction=1.0)
    with scratch_folder() as folder:
        job = checked_job(command, inputs, runs.join(folder, "out"), options, silent)
        figures = _figures(job, truth)
    print(_table(figures))
    print(json.dumps(figures, indent=1))


def _figures(job: Job, truth: PairTruth | GroupTruth) -> dict[str, Any]:
    """The job, then its candidates once more with all evidence."""
    listings = listings_of(job)
    place = Workplace(job.storage, runs.join(job.output, "run-0"), job.engine)
    described = stages.described_by(place, listings, job.setup)
    manifest = search_and_verify(job, place, "run-0", listings)
    manifest.commit(job.storage, job.output)
    matches = manifest.table(job.storage, job.output, "matches")
    queries, references = (matches[name].to_pylist() for name in ("query_id", "reference_id"))
    verified = rank_pairs(queries, references, matches["confidence"].to_numpy(), truth)
    collected = list(_collect(job, place, manifest, described))
    return {
        "pairs": matches.num_rows,
        "pairs_per_second": round(matches.num_rows / job.engine.seconds["verify"], 1),
        "matches": ranking_figures(verified),
        "transforms": _transforms(job),
        "variants": {one.name: _judged(one, collected, truth) for one in VARIANTS},
    }


def _collect(
    job: Job, place: Workplace, manifest: Manifest, described: Mapping[Role, RoleParts]
) -> Iterator[Collected]:
    """Everything that could be tried on the candidates that the job verified."""
    work_in_one_thread()
    options = VerifyOptions(
        min_score=job.settings.verify_score, decoding=DecodeOptions(job.settings.max_megapixels)
    )
    images = [
        PairImages(
            job.storage, one.numbers(job.storage), options, stored_keypoints(job.storage, one)
        )
        for one in (described[role] for role in job.roles)
    ]
    for part, uri in enumerate(manifest.table_uris(job.output, "candidates")):
        pairs_uri = runs.join(place.folder, "pairs", runs.part_name(part, "npz"))
        for _, (candidate, query, reference, points, _) in opened_pairs(
            job.storage, uri, pairs_uri, (images[0], images[1]), options
        ):
            if isinstance(query, Failure) or isinstance(reference, Failure):
                continue
            found = collect_evidence(query, reference, points, options.matching, None)
            vectors = [evidence.values for evidence in found] or [np.full(len(NAMES), np.nan)]
            scores = [getattr(candidate, name) for name in SCORES]
            yield Collected(
                candidate.query_id,
                candidate.reference_id,
                np.array(vectors, np.float32),
                np.array(scores, np.float32),
            )


def _transforms(job: Job) -> dict[str, float]:
    """How exact transforms are: one edit of geometry of each of some pictures, proven and compared.

    The error is the largest distance in the corners of what both show, over the copy's diagonal.
    """
    kinds = [kind for kind, edit in KINDS.items() if edit.__module__ == geometry.__name__]
    pictures = list(islice(decoded(job.storage, job.inputs[job.roles[1]], _SIDE_PX), _PICTURES))
    errors: list[float] = []
    for number, (ref, pixels) in enumerate(pictures):
        rng = rng_of(0, ref.image_id)
        edit = KINDS[kinds[number % len(kinds)]].sample(rng, float(rng.uniform()))
        edited = edit(pixels)
        images = [prepare_image("", one) for one in (pixels, edited.pixels)]
        match = verify_pair(images[0], images[1], _UNKNOWN)
        if match.is_copy:
            shown = edited.original_region()
            found = project(np.array(match.transform).reshape(3, 3), shown)
            apart = np.linalg.norm(found - project(edited.transform, shown), axis=1)
            errors.append(float(apart.max()) / float(np.hypot(*edited.pixels.shape[:2])))
    return {
        "edited": len(pictures),
        "verified": len(errors),
        "median_error": round(float(np.median(errors)), 5) if errors else math.nan,
        "error_below_0.03": round(float(np.mean(np.array(errors) < 0.03)), 4) if errors else 0.0,
    }


def _judged(
    variant: Variant, collected: Sequence[Collected], truth: PairTruth | GroupTruth
) -> dict[str, Any]:
    """Figures of the pairs ranked by decisions that saw only other queries, or other groups."""
    names = (*NAMES, *SCORES)
    seen = [name for name in names if name not in variant.without]
    columns = [names.index(name) for name in seen]
    given, start = [], []
    for one in collected:
        rows = one.evidence[variant.alignments(one.evidence)]
        if not len(rows):
            rows = np.full((1, len(NAMES)), np.nan, np.float32)
        given.append(np.column_stack([rows, np.tile(one.scores, (len(rows), 1))])[:, columns])
        start.append(first_choice(np.nan_to_num(rows)))
    ids = [one.query_id for one in collected], [one.reference_id for one in collected]
    labels = rank_pairs(*ids, np.zeros(len(collected)), truth).labels
    chosen = np.array(start, np.int64)
    _, scores = out_of_fold(given, seen, chosen, labels, _folds(ids[0], truth))
    return ranking_figures(rank_pairs(*ids, scores, truth))


def _folds(queries: Sequence[str], truth: PairTruth | GroupTruth) -> npt.NDArray[np.int64]:
    """Pairs of one query are in one fold; in a pile, those of all images of its group."""
    names: Sequence[str] = queries
    if isinstance(truth, GroupTruth):
        known = match_ids(truth.group_of, queries, "image")
        names = [truth.group_of[known[name]] if name in known else name for name in queries]
    return np.array([zlib.crc32(name.encode()) % FOLDS for name in names], np.int64)


def _table(figures: dict[str, Any]) -> str:
    lines = ["| decided by | micro-AP | R at P .9 | at .99 |", "|---|---|---|---|"]
    rows = {"the bundled decision and calibration": figures["matches"], **figures["variants"]}
    for name, values in rows.items():
        recalls = [f"{point['recall']:.3f}" for point in values["recall_at_precision"].values()]
        lines.append(f"| {name} | {values['micro_ap']:.3f} | {' | '.join(recalls)} |")
    made = figures["transforms"]
    lines += [
        f"{figures['pairs_per_second']} pairs a second",
        f"transforms of {made['verified']} verified edits of geometry: "
        f"{made['error_below_0.03']:.3f} within 3 % of the diagonal",
    ]
    return "\n".join(lines)
