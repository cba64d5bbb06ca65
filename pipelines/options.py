"""The options that `dedup` and `match` share, and what `--effort` sets."""

from __future__ import annotations

import argparse
import dataclasses
import math
from dataclasses import dataclass
from typing import Any, get_args

from copydetect.description import keypoints
from copydetect.description.descriptors import DEFAULT_MODEL
from copydetect.description.keypoints import KeypointOptions
from copydetect.errors import OptionError
from copydetect.evaluation.calibration import (
    IDENTITY,
    Calibration,
    Task,
    bundled_calibration,
)
from copydetect.grouping.keepers import KeepOptions, Suggest
from copydetect.transforms.storage import storage_for

CHANNELS = ("descriptor", "local")
DEFAULT_PRECISION = 0.97
NO_CALIBRATION = "none"
EVEN_ODDS = 0.5


@dataclass(frozen=True)
class Effort:
    """What one level of `--effort` sets.

    channels; views: of the images of a pile; query_views: where queries meet references, of these,
    and of queries, which are fewer and more often copies; keypoints: the local features;
    verify_score: from which score up, in log-odds, candidates are looked at; match_score: and from
    which up they are matched in full.
    """

    channels: tuple[str, ...]
    views: str
    query_views: str
    keypoints: KeypointOptions
    verify_score: float
    match_score: float


_ALL_VIEWS = "whole,crops,frames"

EFFORTS = {
    "fast": Effort(("local",), "whole", "whole", keypoints.FAST, -6.5, -4.0),
    "standard": Effort(CHANNELS, "whole", "whole,frames", keypoints.STANDARD, -7.2, -4.0),
    "thorough": Effort(CHANNELS, _ALL_VIEWS, _ALL_VIEWS, keypoints.THOROUGH, -9.0, -math.inf),
}


@dataclass(frozen=True)
class JobOptions:
    """What decides the results of a run, as given on the command line; no paths of outputs.

    calibration: as loaded; min_confidence: as given, or where `precision` is had.
    Zeros and empty strings mean: by the rule, or the default of the part that it belongs to.
    """

    effort: str
    channels: tuple[str, ...]
    views: str
    model: str
    background: str
    index: str
    lists: int
    shards: int
    probes: int
    k: int
    min_score: float | None
    verify_score: float
    calibration: Calibration
    precision: float | None
    min_confidence: float
    keep: KeepOptions
    max_megapixels: float

    def __post_init__(self) -> None:
        unknown = set(self.channels) - set(CHANNELS)
        if unknown or not self.channels:
            raise OptionError(
                f"--channels is {','.join(self.channels)!r}; choose from {', '.join(CHANNELS)}"
            )
        if self.k < 1:
            raise OptionError(f"--k is {self.k}; it must be at least 1")
        if not 0 <= self.min_confidence <= 1:
            raise OptionError(f"--min_confidence is {self.min_confidence}; it must be 0 to 1")

    @property
    def keypoints(self) -> KeypointOptions:
        """The local features of this effort."""
        return EFFORTS[self.effort].keypoints

    @property
    def match_score(self) -> float:
        """From which score up pairs are matched in full."""
        return EFFORTS[self.effort].match_score if "local" in self.channels else -math.inf

    def as_settings(self) -> dict[str, Any]:
        """For the manifest."""
        settings = dataclasses.asdict(dataclasses.replace(self, calibration=IDENTITY))
        return {**settings, "calibration": self.calibration.identity}


def add_job_options(
    parser: argparse.ArgumentParser, with_output: bool = True, task: Task = "dedup"
) -> None:
    """Add the options of a search to a command's parser."""
    parser.set_defaults(task=task)
    if with_output:
        parser.add_argument("--output", required=True, metavar="OUT", help="folder of the results")
    find = parser.add_argument_group("what is found")
    find.add_argument("--effort", choices=EFFORTS, default="standard", help="how hard to look")
    find.add_argument("--channels", help="descriptor, local, or both with a comma between")
    find.add_argument("--views", default="", help="views that descriptors are made of")
    find.add_argument("--k", type=int, default=10, help="candidates an image at least (10)")
    find.add_argument("--min_score", type=float, help="keep every candidate from this score up")
    find.add_argument("--verify_score", type=float, help="verify candidates from this score up")
    _add_threshold_options(parser)
    if task == "dedup":
        _add_keep_options(parser)
    model = parser.add_argument_group("descriptor")
    model.add_argument("--model", default=DEFAULT_MODEL, help="bundled name, or path of a model")
    model.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, … (cpu)")
    model.add_argument(
        "--background",
        default="",
        help="descriptors to normalise scores against, .safetensors (the model's own)",
    )
    index = parser.add_argument_group("index")
    index.add_argument(
        "--index",
        default="SQfp16",
        metavar="CODES",
        help="of descriptors, as in FAISS: Flat, SQ8, PQ64, OPQ64,PQ64,Refine(SQfp16) … (SQfp16)",
    )
    index.add_argument("--lists", type=int, default=0, help="inverted lists (by size)")
    index.add_argument("--shards", type=int, default=0, help="shard files (by size)")
    index.add_argument("--probes", type=int, default=0, help="lists a query visits (by recall)")
    run = parser.add_argument_group("run")
    run.add_argument("--max_megapixels", type=float, default=200.0, help="larger images fail (200)")
    run.add_argument(
        "--max_failed_fraction", type=float, default=0.1, help="more failures: exit code 3 (0.1)"
    )
    run.add_argument("--no_report", action="store_true", help="leave out the pages")


def _add_threshold_options(parser: argparse.ArgumentParser) -> None:
    threshold = parser.add_argument_group("what counts as a copy")
    threshold.add_argument(
        "--precision",
        type=float,
        help=f"of the pairs that count as copies, so many are ({DEFAULT_PRECISION})",
    )
    threshold.add_argument(
        "--min_confidence",
        type=float,
        help="pairs count as copies from this confidence up, instead of --precision",
    )
    threshold.add_argument(
        "--calibration",
        default="",
        metavar="CAL",
        help="what `copydetect calibrate` wrote (the bundled one); none: the decision as it is",
    )


def _add_keep_options(parser: argparse.ArgumentParser) -> None:
    keep = parser.add_argument_group("what is kept of each group")
    keep.add_argument(
        "--keep",
        default="original",
        metavar="RULES",
        help="original, largest, oldest, newest, raw, metadata, shortest-path, first, or several "
        "with commas between: the first that tells images apart decides (original)",
    )
    keep.add_argument(
        "--prefer",
        action="append",
        default=[],
        metavar="PATTERN",
        help="keep these files rather than others, such as 'originals/*'; may be repeated",
    )
    keep.add_argument(
        "--protect",
        action="append",
        default=[],
        metavar="PATTERN",
        help="never suggest these files for removal; may be repeated",
    )
    keep.add_argument(
        "--suggest",
        choices=get_args(Suggest),
        default="same_picture",
        help="suggest for removal: the same picture in another size, quality or format; edited "
        "copies too, of which the kept image shows everything; identical ones only (same_picture)",
    )


def _keep_options(arguments: argparse.Namespace) -> KeepOptions:
    if arguments.task != "dedup":
        return KeepOptions()
    return KeepOptions.parse(arguments.keep, arguments.prefer, arguments.protect, arguments.suggest)


def loaded_calibration(
    spec: str, channels: tuple[str, ...], task: Task, effort: str
) -> Calibration:
    """The calibration that `--calibration` names, for this task; InputError, OptionError.

    One that was made of scores of other channels does not fit.
    """
    if spec == NO_CALIBRATION:
        return IDENTITY
    if not spec:
        return bundled_calibration(channels, task, effort)
    found = Calibration.load(storage_for(spec), spec, task)
    if found.channels and found.channels != channels:
        raise OptionError(
            f"--calibration {spec} was made with the channels {','.join(found.channels)}, "
            f"not {','.join(channels)}"
        )
    if not found.is_current:
        raise OptionError(
            f"--calibration {spec} was made with another version of the verification: make it "
            "again with `copydetect calibrate`"
        )
    return found


def _threshold(
    arguments: argparse.Namespace, calibration: Calibration
) -> tuple[float | None, float]:
    """The wanted precision, if any, and the confidence from which a pair is a copy; OptionError."""
    precision, given = arguments.precision, arguments.min_confidence
    if given is not None:
        if precision is not None:
            raise OptionError("give --precision or --min_confidence, not both")
        return None, float(given)
    if calibration.points and precision is None:
        # Many sure pairs leave room for doubtful ones; none is reported at odds below even.
        threshold = calibration.threshold_for(DEFAULT_PRECISION)
        return DEFAULT_PRECISION, max(EVEN_ODDS, threshold)
    if calibration.points and precision is not None:
        return precision, calibration.threshold_for(precision)
    if precision is not None:
        raise OptionError("--precision needs a calibration; --calibration is none")
    return None, EVEN_ODDS


def job_options(arguments: argparse.Namespace) -> JobOptions:
    """The checked options of a parsed command line; OptionError names what is wrong."""
    effort = EFFORTS[arguments.effort]
    channels = effort.channels if arguments.channels is None else arguments.channels.split(",")
    channels = tuple(channel.strip() for channel in channels)
    calibration = loaded_calibration(
        arguments.calibration, channels, arguments.task, arguments.effort
    )
    precision, min_confidence = _threshold(arguments, calibration)
    views = effort.query_views if arguments.task == "match" else effort.views
    return JobOptions(
        effort=arguments.effort,
        channels=channels,
        views=arguments.views or views,
        model=arguments.model,
        background=arguments.background,
        index=arguments.index,
        lists=arguments.lists,
        shards=arguments.shards,
        probes=arguments.probes,
        k=arguments.k,
        min_score=arguments.min_score,
        verify_score=(
            effort.verify_score if arguments.verify_score is None else arguments.verify_score
        ),
        calibration=calibration,
        precision=precision,
        min_confidence=min_confidence,
        keep=_keep_options(arguments),
        max_megapixels=arguments.max_megapixels,
    )
