"""`copydetect benchmark`: one command for every published figure.

The arguments of all benchmarks are defined here, where nothing heavy is imported. The benchmarks
themselves are the modules of `pipelines.benchmarks`.
"""

from __future__ import annotations

import importlib
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from copydetect.models import DEFAULT_MODEL
from copydetect.options import EffortName, EngineOptions
from copydetect.quiet_imports import quiet_imports
from copydetect.spelling import suggestion

from ..arguments import INPUTS, TRUST_MODEL, CommandParser, names, run_command, whole_number
from ..exit_codes import BAD_ARGUMENTS, DONE
from ..run_arguments import KEEP_OPTIONS, add_run_options

_NOT_MEASURED = (*KEEP_OPTIONS, "max_failed_fraction", "report", "overwrite", "exclude")
"""Options of a run that change nothing in a benchmark."""

_TRUTH = "ground truth: of pairs for match, of groups for dedup"


@dataclass(frozen=True)
class Benchmark:
    """arguments: adds its options to a parser; runs: whether it takes options of an engine."""

    purpose: str
    arguments: Callable[[CommandParser], None]
    runs: bool = True


def _speed(parser: CommandParser) -> None:
    parser.add_argument("photos", metavar="PHOTOS", nargs="+", help=INPUTS)
    parser.add_argument(
        "--fastdup",
        metavar="PYTHON",
        help="also run fastdup on the same folder, with the Python of an environment that has it",
    )
    add_run_options(parser, leave_out=_NOT_MEASURED)


def _effort(parser: CommandParser) -> None:
    parser.add_argument("--queries", required=True, nargs="+", help="any input that match takes")
    parser.add_argument("--references", required=True, nargs="+", help="any input that match takes")
    parser.add_argument("--truth", required=True, help="ground_truth.csv")
    parser.add_argument(
        "--others", default=[], nargs="+", help="further references, of other pictures (none)"
    )
    parser.add_argument(
        "--efforts",
        type=names,
        default=("fast", "standard", "thorough"),
        help="efforts to measure (all); each channel alone as well, unless --channels is given",
    )
    skipped = (*_NOT_MEASURED, "effort", "k", "verify_score")
    add_run_options(parser, leave_out=skipped)


def _score(parser: CommandParser) -> None:
    parser.add_argument("--truth", required=True, help=_TRUTH)
    parser.add_argument("--queries", required=True, help="any input; for groups, all images")
    parser.add_argument("--references", help="any input; not for groups")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or path of a descriptor model")
    parser.add_argument("--trust_model", action="store_true", help=TRUST_MODEL)


def _compatible(parser: CommandParser) -> None:
    parser.add_argument("--truth", required=True, help="ground truth of pairs")
    parser.add_argument("--queries", required=True, help="any input that match takes")
    parser.add_argument("--references", required=True, help="any input that match takes")
    parser.add_argument("--old", default=DEFAULT_MODEL, help="the model that old vectors are of")
    parser.add_argument("--model", required=True, help="the model that takes its place")
    parser.add_argument("--trust_model", action="store_true", help=TRUST_MODEL)


def _search(parser: CommandParser) -> None:
    parser.add_argument("--pictures", help="pictures whose descriptors the vectors are modelled on")
    parser.add_argument("--descriptors", help="those descriptors, as an .npy of an earlier run")
    parser.add_argument(
        "-o", "--output", required=True, help="folder for vectors, figures and plot"
    )
    parser.add_argument("--vectors", default="1e4,3e4,1e5,2.5e5,1e6", help="sizes to measure")
    parser.add_argument("--dim", type=whole_number, default=256, help="dimension (256)")
    parser.add_argument(
        "--codes",
        default="SQfp16 SQ8 PQ64",
        help="codes to compare, with spaces between",
    )
    parser.add_argument(
        "--codes_vectors",
        type=whole_number,
        default=100_000,
        help="how many vectors to code (100000)",
    )
    parser.add_argument(
        "--features", type=whole_number, default=2000, help="pictures for local features (2000)"
    )


def _plan(parser: CommandParser) -> None:
    parser.add_argument("--images", required=True, help="number of images, such as 1e9")
    parser.add_argument("--measured", required=True, help="search.json of `benchmark search`")
    parser.add_argument(
        "--measured_dim",
        type=whole_number,
        default=256,
        help="its dimension (256)",
    )
    parser.add_argument("--views", type=whole_number, default=1, help="vectors per image (1)")
    parser.add_argument("--dim", type=whole_number, default=256, help="dimension (256)")
    parser.add_argument("--codes", default="SQfp16", help="as --index of dedup (SQfp16)")
    parser.add_argument(
        "--lists", type=whole_number, default=0, help="inverted lists (by the rule)"
    )
    parser.add_argument(
        "--probes", type=whole_number, default=0, help="lists per query (those measured)"
    )
    parser.add_argument("--copies", type=float, default=6.0, help="shards that a query visits (6)")
    parser.add_argument("--k", type=whole_number, default=32, help="neighbours of a query (32)")
    parser.add_argument(
        "--cores", type=whole_number, default=256, help="cores of all workers (256)"
    )


def _faults(parser: CommandParser) -> None:
    parser.add_argument("photos", metavar="PHOTOS", nargs="+", help=f"{INPUTS}; the first six")
    parser.add_argument("--faults", type=whole_number, default=200, help="number of faults (200)")
    parser.add_argument("--seed", type=whole_number, default=0, help="seed of the faults (0)")


def _nightly(parser: CommandParser) -> None:
    parser.add_argument("photos", metavar="PHOTOS", nargs="+", help="folders of image files")
    parser.add_argument(
        "--sizes", type=names, default=("1000",), help="images in the catalogue, such as 1000,10000"
    )
    parser.add_argument("--night", type=whole_number, default=100, help="new images (100)")
    parser.add_argument(
        "--nights",
        type=whole_number,
        default=0,
        help="compare so many nights with one run (0)",
    )
    parser.add_argument(
        "--images", type=whole_number, default=0, help="number of images for --nights; 0: all (0)"
    )
    parser.add_argument("--kills", type=whole_number, default=0, help="nights to kill (0)")
    parser.add_argument("--effort", choices=get_args(EffortName), default="standard")
    parser.add_argument(
        "--seed", type=whole_number, default=0, help="seed of all random orders (0)"
    )


def _engines(parser: CommandParser) -> None:
    parser.add_argument("photos", metavar="PHOTOS", nargs="+", help=INPUTS)
    parser.add_argument(
        "--managers",
        type=names,
        default=(),
        metavar="PID,…",
        help="processes of this machine whose descendants work for the engine, as TaskManagers of "
        "Flink: their processor time counts (none)",
    )
    parser.add_argument(
        "--kills",
        type=whole_number,
        default=0,
        help="runs of which a worker, or one of --managers, is killed at a random moment (0)",
    )
    parser.add_argument("--seed", type=whole_number, default=0, help="of these moments (0)")


BENCHMARKS = {
    "speed": Benchmark(
        "seconds and images per second of each stage of dedup, with fastdup beside it", _speed
    ),
    "effort": Benchmark(
        "recall, time and bytes of fast, standard and thorough side by side", _effort
    ),
    "score": Benchmark(
        "what score normalisation is worth, given a ground truth of pairs or groups",
        _score,
        runs=False,
    ),
    "compatible": Benchmark(
        "a model whose vectors are compared with an older one's, beside describing all again",
        _compatible,
        runs=False,
    ),
    "search": Benchmark(
        "sharded search up to a million descriptors, against FAISS alone", _search, runs=False
    ),
    "plan": Benchmark(
        "lists, shards, bytes and worker-hours for a collection of any size", _plan, runs=False
    ),
    "engines": Benchmark(
        "a run on an engine beside one on this machine: time, jobs, equal tables, lost workers",
        _engines,
    ),
    "faults": Benchmark(
        "runs that are killed or whose files break: tables, user files and leftovers after them",
        _faults,
        runs=False,
    ),
    "nightly": Benchmark(
        "the cost of a night, several nights against one, search, and nights that are killed",
        _nightly,
    ),
}


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {name:<10} {one.purpose}" for name, one in BENCHMARKS.items()]
        print("\n".join(["usage: copydetect benchmark NAME ...", "", *lines]))
        return DONE if argv else BAD_ARGUMENTS
    name = argv[0]
    if name not in BENCHMARKS:
        near = suggestion(name, BENCHMARKS)
        print(
            f"copydetect benchmark: there is no {name!r}{near}\n"
            f"The benchmarks are {', '.join(BENCHMARKS)}.",
            file=sys.stderr,
        )
        return BAD_ARGUMENTS
    benchmark = BENCHMARKS[name]
    parser = CommandParser(f"benchmark {name}", f"Measure {benchmark.purpose}.", benchmark.runs)
    benchmark.arguments(parser)

    def run(arguments: Namespace, engine: EngineOptions) -> None:
        with quiet_imports():
            module = importlib.import_module(f"..benchmarks.{name}", __package__)
        module.run(arguments, engine)

    return run_command(parser, argv[1:], run)
