"""`copydetect benchmark compatible`: what it costs to search old vectors with a new model.

Descriptors only and exact search, normalised as a run does. The references have vectors of the old
model, of the new one, or of the old one while the queries have the new one's: so a catalogue is
searched whose pictures are not described again.
"""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from copydetect.description.descriptors import load_model
from copydetect.errors import InputError
from copydetect.evaluation.ground_truth import GroupTruth, read_truth
from copydetect.options import EngineOptions
from copydetect.storage.files import LocalStorage

from .score import Described, figures_of


def run(arguments: Namespace, engine: EngineOptions) -> None:
    """Measure, and print a table and JSON."""
    truth = read_truth(LocalStorage(), arguments.truth)
    if isinstance(truth, GroupTruth):
        raise InputError("the truth must be of pairs: queries, and references that they are of")
    old, new = (
        load_model(name, trust_model=arguments.trust_model)
        for name in (arguments.old, arguments.model)
    )
    if old.dimension != new.dimension:
        raise InputError(
            f"vectors of {old.card.name} and {new.card.name} cannot be compared: their dimensions "
            f"are {old.dimension} and {new.dimension}"
        )
    queries, references = (
        {name: Described.of(spec, model) for name, model in (("old", old), ("new", new))}
        for spec in (arguments.queries, arguments.references)
    )
    figures = {
        name: figures_of(queries[asks], references[asked], truth)
        for name, asks, asked in (
            ("old model alone", "old", "old"),
            ("new model, all described again", "new", "new"),
            ("new model, old vectors searched directly", "new", "old"),
        )
    }
    print(_table(figures))
    said = new.card.compatible_with == old.identity
    print(json.dumps({"said_to_be_compatible": said, **figures}, indent=1))


def _table(figures: dict[str, dict[str, Any]]) -> str:
    lines = ["| queries and references | recall at 1 | micro-AP | R at P .9 |", "|---|---|---|---|"]
    for name, values in figures.items():
        first, micro_ap = values["recall_at_rank"]["1"], values["micro_ap"]
        recall = values["recall_at_precision"]["0.9"]["recall"]
        lines.append(f"| {name} | {first:.3f} | {micro_ap:.3f} | {recall:.3f} |")
    return "\n".join(lines)
