"""The options of a run on the command line: the fields of `RunOptions`, with their help."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import fields
from typing import Any, get_args

from copydetect.options import DEFAULT_PRECISION, EffortName, RunOptions, Suggest

from .arguments import TRUST_MODEL, names, share, whole_number


def add_run_options(
    parser: argparse.ArgumentParser,
    leave_out: Collection[str] = (),
    defaults: RunOptions | None = None,
    only_given: bool = False,
) -> None:
    """Add the options of `RunOptions`, without those that mean nothing to this command.

    only_given: leave those that are not given out of what is parsed, see `given_options`.
    """
    defaults = defaults or RunOptions()
    groups: dict[str, Any] = {}
    for name, (title, told) in _RUN_OPTIONS.items():
        if name in leave_out:
            continue
        group = groups.get(title) or groups.setdefault(title, parser.add_argument_group(title))
        option = f"--no_{name}" if told.get("action") == "store_false" else f"--{name}"
        default = [] if told.get("action") == "append" else getattr(defaults, name)
        default = argparse.SUPPRESS if only_given else default
        group.add_argument(option, dest=name, default=default, **told)


def run_options(arguments: argparse.Namespace, **settled: Any) -> RunOptions:
    """The checked options of a parsed command line. settled: those that the command decides."""
    return RunOptions(**{**given_options(arguments), **settled})


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that a parsed command line has, by name."""
    names = [field.name for field in fields(RunOptions)]
    given = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    lists = ("exclude", "prefer", "protect")
    return given | {name: tuple(given[name]) for name in lists if name in given}


_FIND, _THRESHOLD = "which pairs are looked at", "what counts as a copy"
_DESCRIPTOR, _INDEX, _RUN = "descriptor", "index", "run"
_KEEP = "which image of a group is kept"
KEEP_OPTIONS = ("keep", "prefer", "protect", "suggest")
"""Those that mean something only where groups are made."""

_RUN_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "effort": (
        _FIND,
        {
            "choices": get_args(EffortName),
            "help": "how hard to look: fast looks at small thumbnails only, "
            "thorough also looks for parts of pictures (standard)",
        },
    ),
    "channels": (
        _FIND,
        {
            "type": names,
            "metavar": "NAMES",
            "help": "how candidate pairs are found: by descriptors, by local features, or both: "
            "descriptor,local (both; fast: local)",
        },
    ),
    "views": (
        _FIND,
        {
            "metavar": "NAMES",
            "help": "which views of an image get a descriptor, separated by commas: whole, crops, "
            "frames (pictures found inside the image)",
        },
    ),
    "exclude": (
        _FIND,
        {
            "action": "append",
            "metavar": "GLOB",
            "help": "leave out files whose name, or path below the input, matches; may be repeated",
        },
    ),
    "k": (
        _FIND,
        {"type": whole_number, "help": "how many candidates each image keeps at least (10)"},
    ),
    "min_score": (
        _FIND,
        {"type": float, "help": "also keep every candidate with at least this score, in log-odds"},
    ),
    "verify_score": (
        _FIND,
        {"type": float, "help": "verify only candidates with at least this score, in log-odds"},
    ),
    "max_megapixels": (
        _FIND,
        {"type": float, "help": "images with more megapixels than this fail (200)"},
    ),
    "precision": (
        _THRESHOLD,
        {
            "type": share,
            "help": "share of the reported pairs that should be real copies. Higher: fewer false "
            f"alarms, more misses ({DEFAULT_PRECISION})",
        },
    ),
    "min_confidence": (
        _THRESHOLD,
        {
            "type": share,
            "help": "report pairs with at least this confidence, instead of --precision",
        },
    ),
    "count": (
        _THRESHOLD,
        {
            "type": names,
            "metavar": "RELATIONS",
            "help": "changed_content: also report pictures that were made from one another, or "
            "from one template, but say something else, such as another amount",
        },
    ),
    "calibration": (
        _THRESHOLD,
        {
            "metavar": "CAL",
            "help": "output of `copydetect calibrate` (the bundled calibration); none: confidences "
            "are not calibrated",
        },
    ),
    "check": (
        _THRESHOLD,
        {
            "action": "store_false",
            "help": "do not plant copies to set the threshold and to measure the recall. They are "
            "planted from 300 images up, unless --calibration or --min_confidence is given",
        },
    ),
    "model": (
        _DESCRIPTOR,
        {"help": "name of a bundled descriptor, or path of a model (descriptor-lite0)"},
    ),
    "trust_model": (_DESCRIPTOR, {"action": "store_true", "help": TRUST_MODEL}),
    "device": (
        _DESCRIPTOR,
        {"help": "device that computes descriptors: cpu, cuda, cuda:1, … (cpu)"},
    ),
    "background": (
        _DESCRIPTOR,
        {
            "metavar": "FILE",
            "help": "descriptors of unrelated pictures that scores are normalised against, as "
            ".safetensors (the model's own)",
        },
    ),
    "index": (
        _INDEX,
        {
            "metavar": "CODES",
            "help": "how descriptors are stored, named as in FAISS's index factory: Flat, SQfp16, "
            "SQ8 or PQ<bytes> (SQfp16)",
        },
    ),
    "lists": (
        _INDEX,
        {"type": whole_number, "help": "number of inverted lists (by the size of the collection)"},
    ),
    "shards": (
        _INDEX,
        {"type": whole_number, "help": "number of shard files (by the size of the collection)"},
    ),
    "probes": (
        _INDEX,
        {
            "type": whole_number,
            "help": "how many inverted lists each query visits (as many as the recall needs)",
        },
    ),
    "keep": (
        _KEEP,
        {
            "type": names,
            "metavar": "RULES",
            "help": "which image of a group is kept: original, largest, oldest, newest, raw, "
            "metadata, shortest-path or first. Several rules, separated by commas, are asked in "
            "turn until one tells two images apart (original)",
        },
    ),
    "prefer": (
        _KEEP,
        {
            "action": "append",
            "metavar": "GLOB",
            "help": "keep these files rather than others, such as 'originals/*'; may be repeated",
        },
    ),
    "protect": (
        _KEEP,
        {
            "action": "append",
            "metavar": "GLOB",
            "help": "never suggest these files for removal; may be repeated",
        },
    ),
    "suggest": (
        _KEEP,
        {
            "choices": get_args(Suggest),
            "help": "what may be suggested for removal: nothing; identical files; also the "
            "same_picture in another size, quality or format; also edited copies (same_picture)",
        },
    ),
    "max_failed_fraction": (
        _RUN,
        {
            "type": share,
            "help": "share of the files of an input that may fail. If more fail, the exit code "
            "is 3, "
            "and an earlier result is kept (0.1)",
        },
    ),
    "report": (_RUN, {"action": "store_false", "help": "do not draw the pages"}),
    "overwrite": (
        _RUN,
        {"action": "store_true", "help": "replace an earlier, different run in OUT"},
    ),
}
