"""The summary that `dedup` and `match` print at their end, for a person or as JSON."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from copydetect.errors import TooManyFailuresError

from ..metrics import write_metrics

if TYPE_CHECKING:
    from copydetect.results import Result


def tell(job: Callable[[], Result], arguments: Namespace) -> None:
    """Run a job and print its summary; TooManyFailuresError is raised again after that."""
    try:
        _print(job(), arguments)
    except TooManyFailuresError as error:
        if error.result is not None:
            _print(error.result, arguments)
        raise


def _print(result: Result, arguments: Namespace) -> None:
    manifest = result.manifest
    if arguments.metrics_file and manifest.accepted:
        labels = {"command": manifest.command, "output": arguments.output}
        figures = (manifest.counts, manifest.seconds, manifest.quality)
        write_metrics(arguments.metrics_file, labels, *figures)
    summary = result.summary
    if arguments.json:
        print(json.dumps(summary.as_dict(), indent=2))
    elif not arguments.quiet:
        print(summary)
