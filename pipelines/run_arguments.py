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
    only_given: bool = False,
) -> None:
    """Add the options of `RunOptions`, without those that mean nothing to this command.

    only_given: leave those that are not given out of what is parsed, see `given_options`.
    """
    defaults = RunOptions()
    for title, helps in _HELP.items():
        wanted = [name for name in helps if name not in leave_out]
        group = parser.add_argument_group(title) if wanted else parser
        for name in wanted:
            form = _FORMS.get(name, {})
            option = f"--no_{name}" if form.get("action") == "store_false" else f"--{name}"
            default = [] if form.get("action") == "append" else getattr(defaults, name)
            default = argparse.SUPPRESS if only_given else default
            group.add_argument(option, dest=name, default=default, help=helps[name], **form)


def run_options(arguments: argparse.Namespace, **settled: Any) -> RunOptions:
    """The checked options of a parsed command line. settled: those that the command decides."""
    return RunOptions(**{**given_options(arguments), **settled})


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that a parsed command line has, by name."""
    names = [field.name for field in fields(RunOptions)]
    given = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    lists = ("exclude", "prefer", "protect")
    return given | {name: tuple(given[name]) for name in lists if name in given}


KEEP_OPTIONS = ("keep", "prefer", "protect", "suggest")
"""Those that mean something only where groups are made."""

_HELP: dict[str, dict[str, str]] = {
    "which pairs are looked at": {
        "effort": "how hard to look: fast looks at small thumbnails only, thorough also looks for "
        "parts of pictures (standard)",
        "channels": "how candidate pairs are found: by descriptors, by local features, or both: "
        "descriptor,local (both; fast: local)",
        "views": "which views of an image get a descriptor, separated by commas: whole, crops, "
        "frames (pictures found inside the image)",
        "exclude": "leave out files whose name, or path below the input, matches; may be repeated",
        "k": "how many candidates each image keeps at least (10)",
        "min_score": "also keep every candidate with at least this score, in log-odds",
        "verify_score": "verify only candidates with at least this score, in log-odds; above -6, "
        "families of more than about eight copies are left out (column `crowded`)",
        "max_megapixels": "images with more megapixels than this fail (200)",
    },
    "what counts as a copy": {
        "precision": "share of the reported pairs that should be real copies. Higher: fewer false "
        f"alarms, more misses ({DEFAULT_PRECISION})",
        "min_confidence": "report pairs with at least this confidence, instead of --precision",
        "count": "changed_content: also report pictures that were made from one another, or from "
        "one template, but say something else, such as another amount",
        "calibration": "output of `copydetect calibrate` (the bundled calibration); none: "
        "confidences are not calibrated",
        "check": "do not plant copies to set the threshold and to measure the recall. They are "
        "planted from 300 images up, unless --calibration or --min_confidence is given",
    },
    "descriptor": {
        "model": "name of a bundled descriptor, or path of a model (descriptor-lite0)",
        "trust_model": TRUST_MODEL,
        "device": "device that computes descriptors: cpu, cuda, cuda:1, … (cpu)",
        "background": "descriptors of unrelated pictures that scores are normalised against, as "
        ".safetensors (the model's own)",
    },
    "index": {
        "index": "how descriptors are stored, named as in FAISS's index factory: Flat, SQfp16, SQ8 "
        "or PQ<bytes> (SQfp16)",
        "lists": "number of inverted lists (by the size of the collection)",
        "shards": "number of shard files (by the size of the collection)",
        "probes": "how many inverted lists each query visits (as many as the recall needs)",
    },
    "which image of a group is kept": {
        "keep": "which image of a group is kept: original, largest, oldest, newest, raw, metadata, "
        "shortest-path or first. Several rules, separated by commas, are asked in turn until one "
        "tells two images apart (original)",
        "prefer": "keep these files rather than others, such as 'originals/*'; may be repeated",
        "protect": "never suggest these files for removal; may be repeated",
        "suggest": "what may be suggested for removal: nothing; identical files; also the "
        "same_picture in another size, quality or format; also edited copies (same_picture)",
    },
    "run": {
        "max_failed_fraction": "share of the files of an input that may fail. If more fail, the "
        "exit code is 3, and an earlier result is kept (0.1)",
        "report": "do not draw the pages",
        "overwrite": "replace an earlier, different run in OUT",
    },
}
"""Of every option, by the title that it is listed under."""

_FORMS: dict[str, dict[str, Any]] = {
    "effort": {"choices": get_args(EffortName)},
    "channels": {"type": names, "metavar": "NAMES"},
    "views": {"metavar": "NAMES"},
    "exclude": {"action": "append", "metavar": "GLOB"},
    "k": {"type": whole_number},
    "min_score": {"type": float},
    "verify_score": {"type": float},
    "max_megapixels": {"type": float},
    "precision": {"type": share},
    "min_confidence": {"type": share},
    "count": {"type": names, "metavar": "RELATIONS"},
    "calibration": {"metavar": "CAL"},
    "check": {"action": "store_false"},
    "trust_model": {"action": "store_true"},
    "background": {"metavar": "FILE"},
    "index": {"metavar": "CODES"},
    "lists": {"type": whole_number},
    "shards": {"type": whole_number},
    "probes": {"type": whole_number},
    "keep": {"type": names, "metavar": "RULES"},
    "prefer": {"action": "append", "metavar": "GLOB"},
    "protect": {"action": "append", "metavar": "GLOB"},
    "suggest": {"choices": get_args(Suggest)},
    "max_failed_fraction": {"type": share},
    "report": {"action": "store_false"},
    "overwrite": {"action": "store_true"},
}
"""How an option is written, where it is not a plain text."""
