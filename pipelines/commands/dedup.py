"""`copydetect dedup`: find the copies inside a collection."""

from __future__ import annotations

from argparse import Namespace

from copydetect.options import EngineOptions

from ..arguments import INPUTS, CommandParser, add_output, run_command
from ..commands.summary import tell
from ..run_arguments import add_run_options, run_options


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = CommandParser("dedup", "Find every image that is an edited copy of another one.", True)
    parser.add_argument("photos", metavar="PHOTOS", nargs="+", help=INPUTS)
    add_output(parser)
    add_run_options(parser)
    return run_command(parser, argv, _dedup)


def _dedup(arguments: Namespace, engine: EngineOptions) -> None:
    from copydetect.api import dedup

    options = run_options(arguments)
    tell(lambda: dedup(arguments.photos, arguments.output, options, engine=engine), arguments)
