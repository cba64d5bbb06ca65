"""The `copydetect` command: one subcommand a job."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from types import ModuleType

from copydetect import __version__

COMMANDS = {
    "dedup": "find the copies inside one collection",
    "match": "find the queries that are copies of references",
    "edits": "make labelled edited copies of a collection",
    "calibrate": "find the threshold for a wanted precision",
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
    if argv is not None:
        return _run(argv)
    try:
        code = _run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("copydetect: interrupted", file=sys.stderr)
        code = 1
    except BrokenPipeError:
        # Who read the output, such as `head`, has seen enough: the job is done all the same.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    if code == 1:
        # Workers may be busy for minutes yet, and Python would wait. Files are whole or not there.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _run(arguments: list[str]) -> int:
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
    result: int = imported(command).main(rest)
    return result


def imported(command: str) -> ModuleType:
    """The job of a command, without what its libraries say of each other when imported."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return importlib.import_module(f"pipelines.{command}")
    finally:
        logging.disable(before)


if __name__ == "__main__":
    sys.exit(main())
