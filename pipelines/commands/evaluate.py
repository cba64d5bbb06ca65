"""`copydetect evaluate`: score a run, or a file of predictions, against a ground truth."""

from __future__ import annotations

import json
from argparse import Namespace

from copydetect.options import EngineOptions
from copydetect.quiet_imports import quiet_imports

from ..arguments import CommandParser, run_command, whole_number


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = CommandParser(
        "evaluate", "Score a run, or a CSV of predictions, against a ground truth."
    )
    parser.add_argument(
        "run", metavar="OUT", help="output folder of a run, or query_id,reference_id,score CSV"
    )
    parser.add_argument(
        "--truth",
        required=True,
        help="CSV of query_id,reference_id or image_id,group_id, or a folder in the layout of "
        "DISC21, NDEC or Copydays",
    )
    parser.add_argument("-o", "--output", help="folder for the figures and plots (OUT/evaluation)")
    parser.add_argument(
        "--top_k", type=whole_number, help="judge only the best pairs of each query"
    )
    parser.add_argument(
        "--top_n", type=whole_number, help="judge only the best pairs of all queries"
    )
    return run_command(parser, argv, _evaluate)


def _evaluate(arguments: Namespace, engine: EngineOptions) -> None:
    with quiet_imports():
        from copydetect.evaluation.rankings import CandidateRule

        from ..evaluate import evaluate

    rule = CandidateRule(arguments.top_k, arguments.top_n)
    figures = evaluate(arguments.run, arguments.truth, rule, arguments.output)
    print(json.dumps(figures, indent=2))
