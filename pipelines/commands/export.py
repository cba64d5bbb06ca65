"""`copydetect export`: write lists and tables of a finished run for other programs."""

from __future__ import annotations

import sys
from argparse import Namespace

from copydetect.options import EngineOptions

from ..arguments import CommandParser, run_command

_WHATS = ("drop", "keep", "pairs", "groups", "images", "failures")
_FORMATS = ("txt", "csv", "jsonl", "parquet", "shards")


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = CommandParser(
        "export",
        "Write results for scripts: by default the files that could be removed, one per line.",
    )
    parser.add_argument("run", metavar="OUT", help="output folder of a run")
    parser.add_argument(
        "--what",
        choices=_WHATS,
        default="drop",
        help="drop: what could be removed; keep: all other readable images; pairs: of copies; "
        "groups, images, failures: those tables (drop)",
    )
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="txt",
        help="txt: one URI per line; csv, jsonl and parquet: all columns; shards: the tar or "
        "Parquet shards of the input, without what could be removed (txt)",
    )
    parser.add_argument(
        "-o", "--output", help="file to write, or folder of shards (standard output)"
    )
    return run_command(parser, argv, _export)


def _export(arguments: Namespace, engine: EngineOptions) -> None:
    from copydetect.api import export

    written = export(arguments.run, arguments.what, arguments.format, arguments.output)
    if arguments.output:
        print(written)
    else:
        sys.stdout.write(written)
