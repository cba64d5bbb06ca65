"""`copydetect nightly`: what is new against everything before, then part of the catalogue."""

from __future__ import annotations

import json
from argparse import Namespace

from copydetect.options import EngineOptions

from ..arguments import INPUTS, CommandParser, add_metrics, run_command, whole_number
from ..commands.summary import tell
from ..metrics import write_metrics
from ..run_arguments import add_run_options, given_options


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = CommandParser(
        "nightly",
        "Find the copies of what is new, in a catalogue of everything before and within itself; "
        "then add it. The options of the first night hold for all that follow.",
        True,
    )
    _add_inputs(parser)
    parser.add_argument(
        "--no_add",
        action="store_true",
        help="only search: the catalogue stays as it is, and OUT gets the tables of `match`",
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="folder for the tables of what this night found"
    )
    parser.add_argument(
        "--keep_generations",
        type=whole_number,
        default=7,
        metavar="N",
        help="how many nights to keep on disk, so that you can go back to one of them (7)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as a JSON object")
    add_metrics(parser)
    add_run_options(parser, leave_out=("report", "check"), only_given=True)
    return run_command(parser, argv, _nightly)


def _add_inputs(parser: CommandParser) -> None:
    """What a night reads: the catalogue, and what is new, gone or decided."""
    parser.add_argument("--catalog", metavar="CAT", required=True, help="folder of the catalogue")
    parser.add_argument("--input", metavar="NEW", nargs="+", help=INPUTS)
    parser.add_argument(
        "--remove",
        metavar="FILE",
        help="images to remove: a CSV or Parquet file with a column image_id",
    )
    parser.add_argument(
        "--forget",
        metavar="FILE",
        help="the same, with all that is known of them, in every file of the catalogue",
    )
    parser.add_argument(
        "--decisions",
        metavar="FILE",
        help="what people have decided on pairs: a CSV or Parquet file with sha256_a, sha256_b, "
        "decision (copy or not_copy), who, when",
    )


def _nightly(arguments: Namespace, engine: EngineOptions) -> None:
    from copydetect.api import nightly
    from copydetect.errors import OptionError

    others = (arguments.remove, arguments.forget, arguments.decisions)
    if not arguments.input and not any(others):
        raise OptionError("give --input, --remove, --forget or --decisions")
    if arguments.no_add:
        _ask(arguments, engine)
        return
    night = nightly(
        arguments.catalog,
        arguments.input,
        arguments.output,
        remove=arguments.remove or (),
        forget=arguments.forget or (),
        decisions=arguments.decisions,
        keep_generations=arguments.keep_generations,
        engine=engine,
        **given_options(arguments),
    )
    if arguments.metrics_file:
        _write_metrics(arguments)
    if arguments.json:
        print(json.dumps(night.as_dict(), indent=2))
    elif not arguments.quiet:
        print(night)


def _write_metrics(arguments: Namespace) -> None:
    """The figures of the last night that was committed."""
    from copydetect.api import open_catalog

    generation = open_catalog(arguments.catalog).generation
    labels = {"command": "nightly", "catalog": arguments.catalog}
    counts = {**generation.counts, "generation": generation.number}
    figures = (counts, generation.seconds, generation.quality)
    write_metrics(arguments.metrics_file, labels, *figures)


def _ask(arguments: Namespace, engine: EngineOptions) -> None:
    from copydetect.api import ask
    from copydetect.errors import OptionError

    changes = arguments.remove or arguments.forget or arguments.decisions
    if not arguments.input or not arguments.output or changes:
        raise OptionError("--no_add needs --input and --output, and changes nothing")
    given = given_options(arguments)
    tell(
        lambda: ask(arguments.catalog, arguments.input, arguments.output, engine=engine, **given),
        arguments,
    )
