"""The `copydetect` command: finds the module of a subcommand, and ends the process."""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

from copydetect import __version__
from copydetect.spelling import suggestion

from . import exit_codes
from .command_names import COMMANDS
from .shutdown import end_cleanly_when_asked, forgive_closed_streams


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
            "Exit codes: 0 done; 1 failed; 2 bad arguments; 3 finished, but too many inputs",
            "failed; 4 another process is at work on the catalogue; 75 trouble that another try",
            "may mend.",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line, by default that of the process, which then ends with its exit code."""
    if argv is None:
        _end_process()
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return exit_codes.DONE if argv else exit_codes.BAD_ARGUMENTS
    command, *rest = argv
    if command == "--version":
        print(f"copydetect {__version__}")
        return exit_codes.DONE
    if command not in COMMANDS:
        near = suggestion(command, COMMANDS)
        print(
            f"copydetect: there is no command {command!r}{near}\n"
            f"The commands are {', '.join(COMMANDS)}.",
            file=sys.stderr,
        )
        return exit_codes.BAD_ARGUMENTS
    result: int = importlib.import_module(f"{__package__}.commands.{command}").main(rest)
    return result


def _end_process() -> NoReturn:
    """Run the command on the process's arguments, and end the process with its exit code."""
    forgive_closed_streams()
    try:
        end_cleanly_when_asked()
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        print(f"copydetect: {exit_codes.message_of(error)}", file=sys.stderr)
        code = exit_codes.code_of(error)
    except OSError as error:
        # What was printed could not be written, as to a full disk.
        print(f"copydetect: {exit_codes.message_of(error)}", file=sys.stderr)
        code = exit_codes.FAILED
    sys.stderr.flush()
    # Workers may be busy for minutes yet, and Python would wait; or their libraries, whose threads
    # it ends anywhere, abort. Files are whole or not there.
    os._exit(code)


if __name__ == "__main__":
    main()
