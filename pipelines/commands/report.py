"""`copydetect report`: draw the pages of a finished run again."""

from __future__ import annotations

from argparse import Namespace

from copydetect.options import EngineOptions
from copydetect.quiet_imports import quiet_imports

from ..arguments import CommandParser, run_command


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = CommandParser("report", "Draw the pages of a finished run: OUT/report/index.html.")
    parser.add_argument("run", metavar="OUT", help="output folder of a run")
    return run_command(parser, argv, _report)


def _report(arguments: Namespace, engine: EngineOptions) -> None:
    with quiet_imports():
        from loky import cpu_count

        from copydetect.errors import CopydetectError
        from copydetect.storage.remote import RecordedStorage
        from copydetect.workers.processes import Processes

        from ..report import write_report

    output = arguments.run.rstrip("/") or "/"
    processes = Processes(max(2, cpu_count()))
    try:
        processes.fork()
    except CopydetectError:
        processes = Processes()  # this one draws
    try:
        print(write_report(RecordedStorage(output), output, processes))
    finally:
        processes.stop()
