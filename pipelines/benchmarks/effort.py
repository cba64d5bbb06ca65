"""`copydetect benchmark effort`: what each effort and each channel finds, and what it costs.

Candidates only: nothing is verified. One worker does all, in this process, whose processor time
tells the cost. Where the truth says what was done to each query, a second
table has what each finds by kind of edit. Further references, among which there are no originals,
tell how all of it grows with the collection.
"""

from __future__ import annotations

import json
import math
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from copydetect import runs
from copydetect.evaluation.ground_truth import read_truth
from copydetect.evaluation.rankings import ranking_figures
from copydetect.inputs.input_specs import Inputs
from copydetect.options import Channel, EffortName, EngineOptions, RunOptions
from copydetect.settings import EFFORTS
from copydetect.storage.files import LocalStorage
from copydetect.storage.scratch import scratch_folder
from copydetect.types import Role

from ..evaluate import candidate_ranking
from ..job import checked_job, run_job
from ..run_arguments import run_options

Channels = tuple[Channel, ...]

_CHANNELS_ALONE: dict[EffortName, Channels] = {"standard": ("descriptor", "local")}
_CANDIDATES = 50
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


def run(arguments: Namespace, engine: EngineOptions) -> None:
    """Measure, and print a table and JSON."""
    alone = replace(engine, workers=1, progress=False)
    channels = getattr(arguments, "channels", None)
    costs = [
        _measure(arguments, alone, effort, found_by)
        for effort, found_by in _settings(arguments.efforts, channels)
    ]
    print(_table(costs))
    print(_edits_table(costs))
    print(json.dumps([vars(cost) for cost in costs], indent=1))


def _settings(
    efforts: Sequence[str], channels: Channels | None
) -> list[tuple[EffortName, Channels]]:
    """The efforts with these channels; without, with their own, and those of `standard` one by one.

    OptionError where an effort is unknown.
    """
    chosen = [RunOptions(effort=cast(EffortName, effort)).effort for effort in efforts]
    if channels is not None:
        return [(effort, channels) for effort in chosen]
    together = [(effort, EFFORTS[effort].channels) for effort in chosen]
    alone = [(e, (channel,)) for e in chosen for channel in _CHANNELS_ALONE.get(e, ())]
    return together + alone


def _measure(
    arguments: Namespace, engine: EngineOptions, effort: EffortName, channels: Channels
) -> Cost:
    options = run_options(
        arguments,
        effort=effort,
        channels=channels,
        k=_CANDIDATES,
        verify_score=math.inf,
        report=False,
        max_failed_fraction=1.0,
    )
    references = [*arguments.references, *arguments.others]
    inputs: dict[Role, Inputs] = {"query": arguments.queries, "reference": references}
    with scratch_folder() as folder:
        output = runs.join(folder, "out")
        started, worked = time.monotonic(), time.process_time()
        manifest = run_job(checked_job("match", inputs, output, options, engine)).manifest
        seconds, worked = time.monotonic() - started, time.process_time() - worked
        images = manifest.counts["images"]
        described = [
            len(_STORAGE.read(uri))
            for table in ("descriptors", "keypoints")
            for uri in manifest.table_uris(output, table)
        ]
        truth = read_truth(_STORAGE, arguments.truth)
        ranking = candidate_ranking(_STORAGE, output, truth)
        return Cost(
            effort,
            ",".join(channels),
            images,
            ranking_figures(ranking),
            round(images / seconds, 1),
            round(1000 * worked / images, 1),
            round(sum(described) / images, 1),
            {name: round(value, 2) for name, value in manifest.seconds.items()},
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
