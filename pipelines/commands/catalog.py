"""`copydetect catalog`: maintain a catalogue."""

from __future__ import annotations

import argparse
import json
from argparse import Namespace

from copydetect.options import EngineOptions
from copydetect.quiet_imports import quiet_imports

from ..arguments import TRUST_MODEL, CommandParser, run_command, share, whole_number

_ACTIONS = {
    "show": "print what it holds",
    "verify": "read every file, and name those that are missing or damaged",
    "decisions": "print the decisions of people on pairs, as CSV",
    "compact": "merge the small files of many nights, and write the indexes again",
    "rebuild": "like compact, but also train the indexes again: for a catalogue that has grown "
    "several times over, or where an upgrade was begun",
    "upgrade": "begin to go over to another descriptor --model: what comes gets its descriptors as "
    "well; `rebuild` describes the rest, while nights go on, and ends the upgrade. The catalogue's "
    "own model gives it up",
    "rollback": "go back to the night before",
    "prune": "remove nights older than the last --keep, and files that only they use",
}


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    told = "; ".join(f"{name}: {what}" for name, what in _ACTIONS.items())
    parser = CommandParser("catalog", f"Maintain a catalogue. {told}.")
    parser.add_argument("action", choices=list(_ACTIONS), help="what to do")
    parser.add_argument("catalog", metavar="CAT", help="folder of the catalogue")
    parser.add_argument(
        "--keep", type=whole_number, default=7, metavar="N", help="how many nights to keep (7)"
    )
    parser.add_argument(
        "--keep_days",
        type=_days,
        metavar="D",
        help="also keep nights that are at most this many days old",
    )
    _add_model(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    return run_command(parser, argv, _catalog)


def _add_model(parser: CommandParser) -> None:
    """The options of upgrade and rebuild."""
    parser.add_argument("--model", help="upgrade: name or path of the other descriptor model")
    parser.add_argument(
        "--background",
        default="",
        help="upgrade: descriptors of unrelated pictures to normalise against (the model's own)",
    )
    parser.add_argument("--trust_model", action="store_true", help=TRUST_MODEL)
    parser.add_argument("--device", default="cpu", help="what computes descriptors (cpu)")
    parser.add_argument(
        "--max_failed_fraction",
        type=share,
        default=0.1,
        metavar="SHARE",
        help="rebuild: share of the images that an upgrade may leave without descriptors, as their "
        "files are gone (0.1)",
    )


def _days(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days") from None


def _catalog(arguments: Namespace, _: EngineOptions) -> None:
    with quiet_imports():
        from ..nights import upkeep

    told = getattr(upkeep, arguments.action)(arguments)
    if arguments.action == "decisions" and not arguments.json:
        print(told["csv"], end="")
        return
    print(json.dumps(told, indent=2) if arguments.json else upkeep.in_words(told))
