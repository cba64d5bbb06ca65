"""`copydetect match`: find the queries that are copies of references."""

from __future__ import annotations

from argparse import Namespace

from copydetect.options import EngineOptions

from ..arguments import INPUTS, CommandParser, add_output, run_command
from ..commands.summary import tell
from ..run_arguments import KEEP_OPTIONS, add_run_options, run_options


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = CommandParser("match", "Find the queries that are edited copies of references.", True)
    parser.add_argument("--queries", metavar="Q", nargs="+", required=True, help=INPUTS)
    parser.add_argument(
        "--references", metavar="R", nargs="+", required=True, help="the same kinds"
    )
    add_output(parser)
    add_run_options(parser, leave_out=KEEP_OPTIONS)
    return run_command(parser, argv, _match)


def _match(arguments: Namespace, engine: EngineOptions) -> None:
    from copydetect.api import match

    options = run_options(arguments)
    tell(
        lambda: match(
            arguments.queries, arguments.references, arguments.output, options, engine=engine
        ),
        arguments,
    )
