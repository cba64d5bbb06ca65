"""The `copydetect` command: one subcommand a job."""

from __future__ import annotations

import importlib
import sys

from copydetect import __version__

COMMANDS = {
    "dedup": "find the copies inside one collection",
    "match": "find the queries that are copies of references",
    "edits": "make labelled edited copies of a collection",
    "evaluate": "score a run against a ground truth",
    "report": "draw the pages of a finished run again",
    "train": "train or fine-tune a descriptor",
    "benchmark": "measure accuracy, speed and scale",
}


def usage() -> str:
    """The text of `copydetect --help`."""
    lines = [f"  {name:<10} {purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join(
        [
            "usage: copydetect COMMAND ...",
            "",
            "Find edited copies of images in large collections, with proof.",
            "",
            *lines,
            "",
            "`copydetect COMMAND --help` tells the options of a command.",
            "Exit codes: 0 done; 1 failed; 2 bad arguments; 3 too many inputs failed.",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"copydetect {__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        print(
            f"copydetect: there is no command {command!r}; choose from {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return 2
    job = importlib.import_module(f"pipelines.{command}")
    result: int = job.main(rest)
    return result


if __name__ == "__main__":
    sys.exit(main())
