"""The options that `dedup` and `match` share, and what `--effort` sets."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from typing import Any, get_args

from copydetect import keypoints
from copydetect.descriptors import DEFAULT_MODEL
from copydetect.errors import OptionError
from copydetect.keepers import KeepPolicy
from copydetect.keypoints import KeypointOptions
from copydetect.match_parts import VerifyOptions

CHANNELS = ("descriptor", "local")
DEFAULT_MIN_CONFIDENCE = 0.5


@dataclass(frozen=True)
class Effort:
    """What one level of `--effort` sets: channels, views of an image, and local features."""

    channels: tuple[str, ...]
    views: str
    keypoints: KeypointOptions


EFFORTS = {
    "fast": Effort(("local",), "whole", keypoints.FAST),
    "standard": Effort(CHANNELS, "whole", keypoints.STANDARD),
    "thorough": Effort(CHANNELS, "whole,flip,turns,crops", keypoints.THOROUGH),
}


@dataclass(frozen=True)
class JobOptions:
    """What decides the results of a run, as given on the command line; no paths of outputs.

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
    min_confidence: float
    keep: KeepPolicy
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

    def as_settings(self) -> dict[str, Any]:
        """For the manifest."""
        return dataclasses.asdict(self)


def add_job_options(parser: argparse.ArgumentParser, with_output: bool = True) -> None:
    """Add the options of a search to a command's parser."""
    if with_output:
        parser.add_argument("--output", required=True, metavar="OUT", help="folder of the results")
    find = parser.add_argument_group("what is found")
    find.add_argument("--effort", choices=EFFORTS, default="standard", help="how hard to look")
    find.add_argument("--channels", help="descriptor, local, or both with a comma between")
    find.add_argument("--views", default="", help="views that descriptors are made of")
    find.add_argument("--k", type=int, default=10, help="candidates an image at least (10)")
    find.add_argument("--min_score", type=float, help="keep every candidate from this score up")
    find.add_argument(
        "--verify_score",
        type=float,
        default=VerifyOptions().min_score,
        help=f"verify candidates from this score up ({VerifyOptions().min_score:g})",
    )
    find.add_argument(
        "--min_confidence",
        type=float,
        default=DEFAULT_MIN_CONFIDENCE,
        help=f"pairs count as copies from this confidence up ({DEFAULT_MIN_CONFIDENCE})",
    )
    model = parser.add_argument_group("descriptor")
    model.add_argument("--model", default=DEFAULT_MODEL, help="bundled name, or path of a model")
    model.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, … (cpu)")
    model.add_argument("--background", default="", help="images to normalise scores against")
    index = parser.add_argument_group("index")
    index.add_argument("--index", default="SQfp16", help="codes of descriptors: Flat, SQ8, PQ64 …")
    index.add_argument("--lists", type=int, default=0, help="inverted lists (by size)")
    index.add_argument("--shards", type=int, default=0, help="shard files (by size)")
    index.add_argument("--probes", type=int, default=0, help="lists a query visits (by codes)")
    run = parser.add_argument_group("run")
    run.add_argument("--keep", choices=get_args(KeepPolicy), default="largest")
    run.add_argument("--max_megapixels", type=float, default=200.0, help="larger images fail (200)")
    run.add_argument(
        "--max_failed_fraction", type=float, default=0.1, help="more failures: exit code 3 (0.1)"
    )
    run.add_argument("--no_report", action="store_true", help="leave out the pages")


def job_options(arguments: argparse.Namespace) -> JobOptions:
    """The checked options of a parsed command line; OptionError names what is wrong."""
    effort = EFFORTS[arguments.effort]
    channels = effort.channels if arguments.channels is None else arguments.channels.split(",")
    return JobOptions(
        effort=arguments.effort,
        channels=tuple(channel.strip() for channel in channels),
        views=arguments.views or effort.views,
        model=arguments.model,
        background=arguments.background,
        index=arguments.index,
        lists=arguments.lists,
        shards=arguments.shards,
        probes=arguments.probes,
        k=arguments.k,
        min_score=arguments.min_score,
        verify_score=arguments.verify_score,
        min_confidence=arguments.min_confidence,
        keep=arguments.keep,
        max_megapixels=arguments.max_megapixels,
    )
