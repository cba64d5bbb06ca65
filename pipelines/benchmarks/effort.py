"""`copydetect benchmark effort`: what each effort and each channel finds, and what it costs.

Candidates only: nothing is verified. One worker does all, in this process, whose processor time
tells the cost. Where the truth says what was done to each query, a second
table has what each finds by kind of edit. Further references, among which there are no originals,
tell how all of it grows with the collection.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from typing import Any

from copydetect import runs
from copydetect.errors import OptionError
from copydetect.evaluation.ground_truth import read_truth
from copydetect.evaluation.rankings import ranking_figures
from copydetect.inputs.sources import Sources, find_sources
from copydetect.runs import Manifest
from copydetect.storage import LocalStorage
from copydetect.types import Role
from pipelines.engine import exit_code_of, parser_of
from pipelines.evaluate import candidate_ranking
from pipelines.job import checked_job, run_job
from pipelines.options import EFFORTS, add_job_options

_CHANNELS_ALONE = {"standard": ("descriptor", "local")}
_STORAGE = LocalStorage()


@dataclass(frozen=True)
class Cost:
    """One setting: what its candidates are worth, and what they cost.

    images: queries and references; images_per_second: of one worker; cpu_msec: an image, all
    stages; seconds: by the clock, of each stage.
    """

    effort: str
    channels: str
    images: int
    figures: dict[str, Any]
    images_per_second: float
    cpu_msec: float
    bytes_per_image: float
    seconds: dict[str, float]


def main(argv: list[str]) -> int:
    """Run the command line; prints a table and JSON; returns the exit code."""
    parser = parser_of("benchmark effort", "Measure what each effort finds, and what it costs.")
    parser.add_argument("--queries", required=True, help="any input that match takes")
    parser.add_argument("--references", required=True, help="any input that match takes")
    parser.add_argument("--truth", required=True, help="ground_truth.csv")
    parser.add_argument("--others", default="", help="further references, of other pictures (none)")
    parser.add_argument(
        "--efforts",
        default=",".join(EFFORTS),
        help="which to measure (all), with "
        "their own channels and alone, unless --channels says which",
    )
    add_job_options(parser, with_output=False, task="match")
    parser.set_defaults(k=50, verify_score=float("inf"), quiet=True, no_report=True)
    try:
        arguments, beam_flags = parser.parse_known_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    beam_flags.append("--direct_num_workers=1")

    def measure() -> int:
        settings = _settings(arguments.efforts.split(","), arguments.channels)
        costs = [_measure(arguments, beam_flags, *setting) for setting in settings]
        print(_table(costs))
        print(_edits_table(costs))
        print(json.dumps([vars(cost) for cost in costs], indent=1))
        return 0

    return exit_code_of(measure, arguments.verbose)


def _settings(efforts: list[str], channels: str | None) -> list[tuple[str, str]]:
    """The efforts with these channels; without, with their own, and those of `standard` one by one.

    OptionError where an effort is unknown.
    """
    unknown = set(efforts) - set(EFFORTS)
    if unknown:
        raise OptionError(f"--efforts: {min(unknown)!r} is none of {', '.join(EFFORTS)}")
    if channels is not None:
        return [(effort, channels) for effort in efforts]
    together = [(effort, ",".join(EFFORTS[effort].channels)) for effort in efforts]
    alone = [(e, channel) for e in efforts for channel in _CHANNELS_ALONE.get(e, ())]
    return together + alone


def _measure(
    arguments: argparse.Namespace, beam_flags: list[str], effort: str, channels: str
) -> Cost:
    with tempfile.TemporaryDirectory(prefix="copydetect-effort-") as folder:
        arguments.output = runs.join(folder, "out")
        arguments.effort, arguments.channels = effort, channels
        inputs: dict[Role, str] = {"query": arguments.queries, "reference": arguments.references}
        started, worked = time.monotonic(), time.process_time()
        job = checked_job("match", inputs, arguments, beam_flags)
        if arguments.others:
            together = _with_others(job.inputs["reference"], arguments.others)
            job = replace(job, inputs={**job.inputs, "reference": together})
        run_job(job)
        seconds, worked = time.monotonic() - started, time.process_time() - worked
        manifest = Manifest.load(_STORAGE, arguments.output)
        images = manifest.counts["images"]
        described = [
            len(_STORAGE.read(uri))
            for table in ("descriptors", "keypoints")
            for uri in manifest.table_uris(arguments.output, table)
        ]
        truth = read_truth(_STORAGE, arguments.truth)
        ranking = candidate_ranking(_STORAGE, arguments.output, truth)
        return Cost(
            effort,
            channels,
            images,
            ranking_figures(ranking),
            round(images / seconds, 1),
            round(1000 * worked / images, 1),
            round(sum(described) / images, 1),
            {name: round(value, 2) for name, value in manifest.seconds.items()},
        )


def _with_others(references: Sources, spec: str) -> Sources:
    """The references and further ones; InputError where there are none."""
    others = find_sources(_STORAGE, spec)
    return replace(
        references,
        pieces=references.pieces + others.pieces,
        file_count=references.file_count + others.file_count,
    )


def _table(costs: list[Cost]) -> str:
    lines = [
        "| effort | channels | recall@1 | @10 | @50 | micro-AP | R at P .9 | images/s | CPU ms "
        "| bytes |",
        "|" + "---|" * 10,
    ]
    for cost in costs:
        ranks = cost.figures["recall_at_rank"]
        at_precision = cost.figures["recall_at_precision"]["0.9"]["recall"]
        lines.append(
            f"| {cost.effort} | {cost.channels} | {ranks['1']:.3f} | {ranks['10']:.3f} "
            f"| {ranks['50']:.3f} | {cost.figures['micro_ap']:.3f} | {at_precision:.3f} "
            f"| {cost.images_per_second:g} | {cost.cpu_msec:g} | {cost.bytes_per_image:,.0f} |"
        )
    return "\n".join(lines)


def _edits_table(costs: list[Cost]) -> str:
    """Recall@1 by kind of edit, the hardest for the first setting first; empty if unknown."""
    kinds = costs[0].figures.get("edits", {})
    names = [f"{cost.effort} {cost.channels}" for cost in costs]
    lines = ["| recall@1 by edit | copies | " + " | ".join(names) + " |"] if kinds else []
    lines += ["|" + "---|" * (2 + len(costs))] if kinds else []
    for kind in sorted(kinds, key=lambda kind: float(kinds[kind]["recall_at_rank_1"])):
        found = [cost.figures["edits"][kind]["recall_at_rank_1"] for cost in costs]
        cells = " | ".join(f"{value:.2f}" for value in found)
        lines.append(f"| {kind} | {kinds[kind]['copies']} | {cells} |")
    return "\n".join(lines)
