"""Commands that make everything that is bundled with the package, the descriptor aside.

    python -m copydetect.pipelines.recipes RECIPE …

What each does is in the module of `copydetect.training` that it calls. They need more libraries
than a run: `pip install 'copydetect-images[train]'`.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from copydetect.errors import CopydetectError, InputError, OptionError
from copydetect.grouping.originality import SIGNS
from copydetect.models import MODELS
from copydetect.results import Result
from copydetect.runs import Manifest
from copydetect.storage.files import LocalStorage
from copydetect.training import (
    bundled_calibration,
    decision,
    fusion,
    held_out,
    keypoint_quantiser,
    originality,
    relation_decision,
    relation_sources,
)
from copydetect.training.labelled_pairs import PairOptions
from copydetect.training.relation_sources import SourceOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Run a recipe; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except CopydetectError as error:
        print(f"recipes: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser("python -m copydetect.pipelines.recipes", description=__doc__)
    recipes = parser.add_subparsers(required=True, metavar="RECIPE")
    one = recipes.add_parser("decision", help="which pairs are copies")
    one.set_defaults(run=_decision)
    one.add_argument("pictures", nargs="+", help="folders, globs, manifests or tars of pictures")
    one.add_argument("--output", required=True, type=Path, help="the JSON file to write")
    one.add_argument("--originals", type=int, default=PairOptions().originals, help="of each input")
    one.add_argument("--seed", type=int, default=0)
    _add_relations(recipes.add_parser("relations", help="what the two pictures of a pair are"))
    one = recipes.add_parser("quantiser", help="how local features are coded")
    one.set_defaults(run=_quantiser)
    one.add_argument("pictures", nargs="+", help="folders, globs, manifests or tars of pictures")
    one.add_argument("--output", required=True, help="the .safetensors file to write")
    one = recipes.add_parser("fusion", help="how much the scores of both channels count")
    one.set_defaults(run=_fusion)
    one.add_argument("folder", type=Path, help="the output of copydetect calibrate")
    one = recipes.add_parser("calibration", help="what confidences mean")
    one.set_defaults(run=_calibration)
    one.add_argument("folder", type=Path, help="the output of copydetect calibrate")
    one.add_argument("--models", type=Path, default=MODELS, help="folder to write to")
    one = recipes.add_parser("look_alikes", help="a set to measure with, that nothing learns from")
    one.set_defaults(run=_look_alikes)
    one.add_argument("folder", type=Path, help="folder to write the set to")
    one.add_argument("pictures", nargs="+", help="inputs without any copies")
    one.add_argument("--each", type=int, default=4, help="pictures of every kind")
    one.add_argument("--most", type=int, default=60, help="pictures of each input")
    one.add_argument("--seed", type=int, default=0)
    one = recipes.add_parser("originality", help="which image of a group is the original")
    one.set_defaults(run=_originality)
    one.add_argument("runs", nargs="+", metavar="OUT TRUTH", help="runs, each with its truth")
    return parser


def _add_relations(parser: ArgumentParser) -> None:
    usual = SourceOptions()
    parser.set_defaults(run=_relations)
    parser.add_argument("step", choices=("collect", "fit", "fit_designs"))
    parser.add_argument("features", type=Path, help="folder of what is collected")
    parser.add_argument("--designs", type=int, default=usual.designs, help="looks of each design")
    parser.add_argument(
        "--edited_designs", type=int, default=usual.edited_designs, help="the same, edited"
    )
    parser.add_argument(
        "--backgrounds", nargs="*", default=(), help="inputs of what is pasted with edited designs"
    )
    parser.add_argument("--chromium", default=usual.chromium, help="program that draws pages")
    parser.add_argument(
        "--small_designs", type=int, default=usual.small_designs, help="tens of boards, icons, …"
    )
    parser.add_argument("--frames", type=Path, nargs="*", default=(), help="videos, or folders")
    parser.add_argument("--pictures", nargs="*", default=(), help="inputs without any copies")
    parser.add_argument(
        "--one_layout", nargs="*", default=(), help="such inputs whose pictures share a design"
    )
    parser.add_argument("--most", type=int, default=usual.most, help="pictures of each input")
    parser.add_argument("--each", type=int, default=usual.each, help="look-alikes of each kind")
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--output", type=Path, help="the JSON file that fit writes")


def _decision(arguments: Namespace) -> None:
    options = PairOptions(originals=arguments.originals)
    made = decision.train_on(arguments.pictures, options, arguments.seed)
    print(json.dumps(made["unseen"]))
    _write(made, arguments.output)


def _relations(arguments: Namespace) -> None:
    if arguments.step == "collect":
        chosen = {one.name: getattr(arguments, one.name) for one in fields(SourceOptions)}
        chosen = {name: tuple(v) if isinstance(v, list) else v for name, v in chosen.items()}
        sources = SourceOptions(**chosen)
        lost = []
        for name, pairs in relation_sources.collect(sources, arguments.features):
            if pairs is None:
                lost.append(name)
            else:
                print(name, pairs, "pairs", flush=True)
        if lost:
            raise InputError(f"lost, since their processes crashed: {', '.join(lost)}")
        return
    if arguments.output is None:
        raise OptionError("fit needs --output")
    designs = arguments.step == "fit_designs"
    fit = relation_decision.fit_designs if designs else relation_decision.fit
    made = fit(relation_sources.read_collected(arguments.features))
    print(json.dumps(made["unseen"], indent=1))
    _write(made, arguments.output)


def _look_alikes(arguments: Namespace) -> None:
    inputs = [relation_sources.read_pictures(one, arguments.most) for one in arguments.pictures]
    pictures = [picture for some in inputs for picture in some]
    pairs = held_out.write_look_alikes(pictures, arguments.folder, arguments.each, arguments.seed)
    print(f"{pairs} pairs → {arguments.folder}")


def _quantiser(arguments: Namespace) -> None:
    descriptors = keypoint_quantiser.descriptors_of(arguments.pictures)
    fitted = keypoint_quantiser.fit_quantiser(descriptors)
    keypoint_quantiser.write_quantiser(fitted, LocalStorage(), arguments.output)
    print(f"{len(descriptors):,} features → {arguments.output}")


def _fusion(arguments: Namespace) -> None:
    found, labels = fusion.surpluses_of(fusion.read_study(arguments.folder))
    fitted = fusion.fit_fusion(found, labels)
    print(f"{int(labels.sum())} copies among {len(labels)} pairs")
    print(f"Fusion({fitted.intercept:.2f}, {fitted.descriptor:.2f}, {fitted.local:.2f})")


def _calibration(arguments: Namespace) -> None:
    bundled_calibration.bundle(arguments.folder, arguments.models)


def _originality(arguments: Namespace) -> None:
    if len(arguments.runs) % 2:
        raise OptionError("originality needs a ground truth behind each run")
    storage, groups = LocalStorage(), []
    for output, truth in zip(arguments.runs[::2], arguments.runs[1::2], strict=True):
        result = Result(storage, output, Manifest.load(storage, output))
        found = originality.groups_of(result, truth)
        now = originality.kept_originals(found, np.array([sign.weight for sign in SIGNS]))
        print(f"{output}, by the weights that are there: {now}")
        groups += found
    weights = originality.fit_weights(groups)
    print(f"fitted, each group by the others: {originality.cross_validated(groups)}")
    for sign, weight in zip(SIGNS, weights, strict=True):
        print(f"{sign.name:12s} {sign.weight:6.2f} → {weight:6.2f}")


def _write(made: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
