"""`copydetect calibrate`: find the threshold for a wanted precision on one's own images."""

from __future__ import annotations

from argparse import SUPPRESS, Namespace
from typing import Any

from copydetect.options import EngineOptions
from copydetect.quiet_imports import quiet_imports

from ..arguments import INPUTS, CommandParser, names, run_command, whole_number
from ..run_arguments import KEEP_OPTIONS, add_run_options, run_options

_MEANINGLESS = (
    "min_confidence",
    "calibration",
    "check",
    "count",
    *KEEP_OPTIONS,
    "max_failed_fraction",
    "report",
    "overwrite",
)
"""Options of a run that change nothing here."""

_STUDY: dict[str, dict[str, Any]] = {
    "sample": {"type": whole_number, "help": "images to edit (300)"},
    "collection": {
        "type": whole_number,
        "help": "at most how many images to search in, including the sample (3000)",
    },
    "copies": {"type": whole_number, "help": "copies of each image by each mix (1)"},
    "mixes": {
        "type": names,
        "metavar": "NAMES",
        "help": "mixes of edits; images are edited by one of them, by two, … (mild,default,severe)",
    },
    "seed": {"type": whole_number, "help": "seed of the sample and of the edits (0)"},
    "distinct": {
        "action": "store_true",
        "help": "the collection holds no copies of its own: doubtful pairs count as strangers",
    },
}


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = CommandParser(
        "calibrate", "Find the threshold for a wanted precision on your own images.", runs=True
    )
    parser.add_argument("photos", metavar="PHOTOS", nargs="+", help=INPUTS)
    parser.add_argument(
        "-o", "--output", required=True, metavar="CAL", help="folder of the calibration"
    )
    study = parser.add_argument_group("what is edited and searched")
    for name, told in _STUDY.items():
        option = "--mix" if name == "mixes" else f"--{name}"
        study.add_argument(option, dest=name, default=SUPPRESS, **told)
    study.add_argument(
        "--no_score",
        dest="score",
        action="store_false",
        help="use the decision's confidence alone, so that the calibration fits all channels",
    )
    add_run_options(parser, leave_out=_MEANINGLESS)
    return run_command(parser, argv, _calibrate)


def _calibrate(arguments: Namespace, engine: EngineOptions) -> None:
    options = run_options(arguments)

    with quiet_imports():
        from copydetect.training.calibration_pairs import StudyOptions

        from ..calibrate import calibrate

    study = StudyOptions(
        **{name: getattr(arguments, name) for name in _STUDY if hasattr(arguments, name)}
    )
    made = calibrate(arguments.photos, arguments.output, study, options, engine, arguments.score)
    if not arguments.quiet:
        print(made)
    threshold = made.threshold
    if not arguments.quiet:
        print(threshold)
