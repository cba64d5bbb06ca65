"""`copydetect edits`: make labelled edited copies of a collection."""

from __future__ import annotations

from argparse import Namespace

from copydetect.options import EngineOptions
from copydetect.quiet_imports import quiet_imports

from ..arguments import INPUTS, CommandParser, run_command, share, whole_number


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = CommandParser("edits", "Make labelled edited copies of a collection.", runs=True)
    parser.add_argument("photos", metavar="PHOTOS", nargs="+", help=INPUTS)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder of the copies")
    parser.add_argument("--copies", type=whole_number, default=1, help="copies of each image (1)")
    parser.add_argument("--seed", type=whole_number, default=0, help="seed of the random edits (0)")
    parser.add_argument(
        "--mix", default="default", help="which edits, and how strong: mild, default, severe, …"
    )
    parser.add_argument(
        "--others",
        default="",
        help="pictures to paste with (made-up patterns). None of them may be among PHOTOS: a copy "
        "that shows one would be a copy of that one, too",
    )
    parser.add_argument(
        "--max_side",
        type=whole_number,
        default=1024,
        help="longest side of a copy, px; larger ones are scaled down (1024)",
    )
    parser.add_argument(
        "--max_failed_fraction",
        type=share,
        default=0.1,
        help="share of the images that may fail; if more do, the exit code is 3 (0.1)",
    )
    return run_command(parser, argv, _edits)


def _edits(arguments: Namespace, engine: EngineOptions) -> None:
    with quiet_imports():
        from copydetect.edits.copies import CopyOptions

        from ..edits import make_edits

    options = CopyOptions(arguments.copies, arguments.seed, arguments.mix, arguments.max_side)
    made = make_edits(
        arguments.photos,
        arguments.output,
        options,
        engine,
        arguments.others,
        arguments.max_failed_fraction,
    )
    if not arguments.quiet:
        print(made)
    made.check()
