"""`copydetect match`: find the queries that are copies of references."""

from __future__ import annotations

from copydetect.types import Role
from pipelines.cli import end_with
from pipelines.engine import exit_code_of, parser_of
from pipelines.job import checked_job, run_job
from pipelines.options import add_job_options


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = parser_of("match", "Find the queries that are edited copies of references.")
    kinds = "folder, glob, manifest (.csv, .parquet), .tar shards, or Parquet of images"
    parser.add_argument("--queries", required=True, help=kinds)
    parser.add_argument("--references", required=True, help=kinds)
    add_job_options(parser, task="match")
    try:
        arguments, beam_flags = parser.parse_known_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    inputs: dict[Role, str] = {"query": arguments.queries, "reference": arguments.references}
    return exit_code_of(
        lambda: run_job(checked_job("match", inputs, arguments, beam_flags)), arguments.verbose
    )


if __name__ == "__main__":
    end_with(main)
