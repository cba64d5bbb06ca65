"""The options of a run: those of `dedup` and `match`, and those of the engine that runs them.

Both are frozen and checked when they are made. The command line and the Python functions make
them, and nothing changes them afterwards. This module loads no heavy library, so that `--help` and
`import copydetect` are quick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypedDict, get_args

from copydetect.errors import OptionError
from copydetect.models import DEFAULT_MODEL
from copydetect.spelling import suggestion

EffortName = Literal["fast", "standard", "thorough"]
Channel = Literal["descriptor", "local"]
KeepRule = Literal[
    "original", "largest", "oldest", "newest", "raw", "metadata", "shortest-path", "first"
]
"""original: by what its file, its name and its matches tell; largest: most pixels, then most bytes
per pixel; oldest, newest: by when it was taken, files that don't say come last; raw: a camera's raw
file; metadata: most data on how it was taken; shortest-path: fewest characters; first: by
image_id."""

Count = Literal["changed_content"]
"""A relation that may count as copies beside those that do: made from the other picture or from one
template, but it says something else."""

Suggest = Literal["nothing", "identical", "same_picture", "edited"]
"""What may be suggested for removal: nothing; files whose pixels or bytes are in another one that
stays; those of the same picture in another size, quality or format too; edited copies too of which
the kept image shows all."""

LogFormat = Literal["text", "json"]
"""What is told on standard error: text for a person, or one JSON object a line."""

DEFAULT_PRECISION = 0.97
EVEN_ODDS = 0.5
"""Where nobody has asked for a precision, no pair below is reported."""
NO_CALIBRATION = "none"


@dataclass(frozen=True)
class RunOptions:
    """The options of one run of `dedup` or `match`; OptionError where they make no sense.

    effort: how hard to look; it sets `channels`, `views` and `verify_score` where they are not
    given. channels: what candidates are found by, "descriptor", "local" or both. views: which views
    of an image get a descriptor, such as "whole,crops". k: each image keeps at least this many
    candidates. min_score: keep every candidate from this score up as well. verify_score: verify
    candidates from this score up; scores are log-odds, of crowded pairs −6 at most.

    precision: share of the reported pairs that should be real copies, above 0 and below 1 (0.97
    where neither it nor `min_confidence` is given). min_confidence: report pairs from this
    confidence up instead, 0…1. count: relations that are reported as copies too, whatever the
    confidence. calibration: path of what `copydetect calibrate` wrote, "" for the bundled one,
    "none" for confidences as the decision gives them. check: whether a run over 300 images or more
    plants copies of its own, to set the threshold for `precision` by what becomes of them and to
    measure how many copies it finds; never with a calibration or `min_confidence`.

    model: name of a bundled descriptor, or path of a model. trust_model: whether it may be
    TorchScript, which is a program that can read and write files. device: what computes
    descriptors, "cpu", "cuda", "cuda:1", … background: path of the descriptors to normalise
    against, "" for the model's own. index: how descriptors are coded, as in FAISS's factory. lists,
    shards, probes: inverted lists, shard files, and lists that a query visits; 0 lets the size of
    the collection decide.

    keep: which image of a group is kept, by the first of these rules that tells two apart. prefer,
    protect: globs of files that are kept rather than others, and that are never suggested for
    removal. suggest: which copies may be suggested. exclude: globs of files that are left out.
    max_megapixels: larger images fail. max_failed_fraction: share of the files of an input, 0…1,
    that may fail before the run counts as failed. report: whether pages are drawn. overwrite:
    whether an earlier, different run in the output folder may be replaced.
    """

    effort: EffortName = "standard"
    channels: tuple[Channel, ...] | None = None
    views: str = ""
    k: int = 10
    min_score: float | None = None
    verify_score: float | None = None
    precision: float | None = None
    min_confidence: float | None = None
    count: tuple[Count, ...] = ()
    calibration: str = ""
    check: bool = True
    model: str = DEFAULT_MODEL
    trust_model: bool = False
    device: str = "cpu"
    background: str = ""
    index: str = "SQfp16"
    lists: int = 0
    shards: int = 0
    probes: int = 0
    keep: tuple[KeepRule, ...] = ("original",)
    prefer: tuple[str, ...] = ()
    protect: tuple[str, ...] = ()
    suggest: Suggest = "same_picture"
    exclude: tuple[str, ...] = ()
    max_megapixels: float = 200.0
    max_failed_fraction: float = 0.1
    report: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        _check_choice("effort", self.effort, get_args(EffortName))
        _check_choice("suggest", self.suggest, get_args(Suggest))
        if not self.keep:
            raise OptionError(f"keep names no rule; choose from {', '.join(get_args(KeepRule))}")
        for relation in self.count:
            _check_choice("count", relation, get_args(Count))
        for rule in self.keep:
            _check_choice("keep", rule, get_args(KeepRule))
        if self.channels is not None:
            _check_channels(self.channels)
        if self.k < 1:
            raise OptionError(f"k is {self.k}; it must be at least 1")
        for name in ("lists", "shards", "probes"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in ("min_confidence", "max_failed_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise OptionError(f"{name} is {value:g}; it must be 0 to 1")
        if self.max_megapixels <= 0 or math.isnan(self.max_megapixels):
            raise OptionError(f"max_megapixels is {self.max_megapixels:g}; it must be above 0")
        self._check_precision()

    def _check_precision(self) -> None:
        if self.precision is None:
            return
        if not 0 < self.precision < 1:
            raise OptionError(
                f"precision is {self.precision:g}; it must be above 0 and below 1, such as 0.97"
            )
        if self.min_confidence is not None:
            raise OptionError("give precision or min_confidence, not both")
        if self.calibration == NO_CALIBRATION:
            raise OptionError("precision needs a calibration, but calibration is none")

    def changed(self, **changes: Any) -> RunOptions:
        """The same options with some of them changed; OptionError for a name that there is not."""
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise OptionError(f"there is no option {name!r}{suggestion(name, known)}")
        return replace(self, **changes)


class RunChanges(TypedDict, total=False):
    """The options of `RunOptions` as keywords, for type checkers and editors."""

    effort: EffortName
    channels: tuple[Channel, ...] | None
    views: str
    k: int
    min_score: float | None
    verify_score: float | None
    precision: float | None
    min_confidence: float | None
    count: tuple[Count, ...]
    calibration: str
    check: bool
    model: str
    trust_model: bool
    device: str
    background: str
    index: str
    lists: int
    shards: int
    probes: int
    keep: tuple[KeepRule, ...]
    prefer: tuple[str, ...]
    protect: tuple[str, ...]
    suggest: Suggest
    exclude: tuple[str, ...]
    max_megapixels: float
    max_failed_fraction: float
    report: bool
    overwrite: bool


@dataclass(frozen=True)
class EngineOptions:
    """Where a run works, and how much it prints.

    flags: options of Apache Beam, such as "--runner=FlinkRunner"; without a runner the job runs on
    this machine. workers: how many processors it may use here, 0 for all. progress: whether it
    reports its progress on standard error. verbose: whether it prints all log messages. log_format:
    what standard error gets.
    """

    flags: tuple[str, ...] = ()
    workers: int = 0
    progress: bool = False
    verbose: bool = False
    log_format: LogFormat = "text"

    def __post_init__(self) -> None:
        _check_choice("log_format", self.log_format, get_args(LogFormat))
        if self.workers < 0:
            raise OptionError(f"workers is {self.workers}; it must be at least 1, or 0 for all")


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise OptionError(
            f"{name} is {value!r}{suggestion(str(value), choices)}; choose from "
            f"{', '.join(choices)}".replace("?; choose", "? Choose")
        )


def _check_channels(channels: Sequence[str]) -> None:
    known = get_args(Channel)
    for channel in channels:
        _check_choice("channels", channel, known)
    if not channels or len(set(channels)) < len(channels):
        raise OptionError(f"channels is {','.join(channels)!r}; name {' or '.join(known)}, or both")
