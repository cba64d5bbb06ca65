"""`copydetect dedup`: find the copies inside one collection."""

from __future__ import annotations

from pipelines.cli import end_with
from pipelines.engine import exit_code_of, parser_of
from pipelines.job import checked_job, run_job
from pipelines.options import add_job_options


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = parser_of("dedup", "Find every image that is an edited copy of another one.")
    parser.add_argument(
        "photos", help="folder, glob, manifest (.csv, .parquet), .tar shards, or Parquet of images"
    )
    add_job_options(parser)
    try:
        arguments, beam_flags = parser.parse_known_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    return exit_code_of(
        lambda: run_job(checked_job("dedup", {"image": arguments.photos}, arguments, beam_flags)),
        arguments.verbose,
    )


if __name__ == "__main__":
    end_with(main)
