"""`copydetect search`: search a catalogue for one or a few pictures."""

from __future__ import annotations

import json
import math
import sys
from argparse import Namespace
from typing import Any

from copydetect.options import EngineOptions
from copydetect.quiet_imports import quiet_imports

from ..arguments import CommandParser, run_command


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = CommandParser(
        "search",
        "Search a catalogue for pictures, and print the images that they are copies of: one JSON "
        "object per line, with the evidence, the surest first.",
    )
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="image files")
    parser.add_argument("--catalog", metavar="CAT", required=True, help="folder of the catalogue")
    parser.add_argument(
        "--all", action="store_true", help="print every pair that was verified, copies or not"
    )
    return run_command(parser, argv, _search)


def _search(arguments: Namespace, _: EngineOptions) -> None:
    with quiet_imports():
        from copydetect.api import open_catalog
        from copydetect.errors import ImageError, InputError, TooManyFailuresError

        catalog = open_catalog(arguments.catalog)
    failed = 0
    for picture in arguments.pictures:
        try:
            matches = catalog.search(picture, picture)
        except (ImageError, InputError) as error:
            failed += 1
            print(f"copydetect: {picture}: {error}", file=sys.stderr)
            continue
        for match in matches:
            if match.is_copy or arguments.all:
                print(json.dumps({name: _value(one) for name, one in vars(match).items()}))
    if failed:
        raise TooManyFailuresError(
            f"{failed:,} of {len(arguments.pictures):,} pictures could not be used"
        )


def _value(value: Any) -> Any:
    """JSON has no number for what is unknown."""
    return None if isinstance(value, float) and math.isnan(value) else value
