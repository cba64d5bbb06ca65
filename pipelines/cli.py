"""The `copydetect` command: one subcommand a job."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

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
    """Run the command line, by default that of the process, which then ends with its exit code."""
    if argv is None:
        end_with(_run)
    return _run(argv)


def end_with(command: Callable[[list[str]], int]) -> NoReturn:
    """Run a command on the process's arguments, and end the process with its exit code."""
    try:
        code = command(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("copydetect: interrupted", file=sys.stderr)
        code = 1
    except BrokenPipeError:
        # Who read the output, such as `head`, has seen enough: the job is done all the same.
        code = 0
    sys.stderr.flush()
    # Workers may be busy for minutes yet, and Python would wait; or their libraries, whose threads
    # it ends anywhere, abort. Files are whole or not there.
    os._exit(code)


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
    main()
