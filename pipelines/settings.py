"""The options of a run, resolved: what an effort sets, the calibration and the threshold."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from copydetect.description import keypoints
from copydetect.description.keypoints import KeypointOptions
from copydetect.errors import OptionError
from copydetect.evaluation.calibration import (
    IDENTITY,
    Calibration,
    Task,
    bundled_calibration,
)
from copydetect.grouping.keepers import KeepOptions
from copydetect.options import (
    DEFAULT_PRECISION,
    NO_CALIBRATION,
    Channel,
    EffortName,
    KeepRule,
    RunOptions,
    Suggest,
)
from copydetect.transforms.storage import storage_for

EVEN_ODDS = 0.5


@dataclass(frozen=True)
class Effort:
    """What one level of `effort` sets.

    channels; views: of the images of a pile; query_views: where queries meet references, of these,
    and of queries, which are fewer and more often copies; keypoints: the local features;
    verify_score: from which score up, in log-odds, candidates are looked at; match_score: and from
    which up they are matched in full.
    """

    channels: tuple[Channel, ...]
    views: str
    query_views: str
    keypoints: KeypointOptions
    verify_score: float
    match_score: float


_BOTH: tuple[Channel, ...] = ("descriptor", "local")
_ALL_VIEWS = "whole,crops,frames"

EFFORTS: dict[EffortName, Effort] = {
    "fast": Effort(("local",), "whole", "whole", keypoints.FAST, -6.5, -4.0),
    "standard": Effort(_BOTH, "whole", "whole,frames", keypoints.STANDARD, -7.2, -4.0),
    "thorough": Effort(_BOTH, _ALL_VIEWS, _ALL_VIEWS, keypoints.THOROUGH, -9.0, -math.inf),
}


@dataclass(frozen=True)
class Settings:
    """What decides the results of a run, and nothing else: no paths of outputs, no engine.

    Fields are those of `RunOptions`, filled in. calibration: as loaded; min_confidence: as given,
    or where `precision` is had.
    """

    effort: EffortName
    channels: tuple[Channel, ...]
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
    keep: tuple[KeepRule, ...]
    prefer: tuple[str, ...]
    protect: tuple[str, ...]
    suggest: Suggest
    max_megapixels: float

    @classmethod
    def of(cls, options: RunOptions, task: Task) -> Settings:
        """Resolve the options for a task; InputError or OptionError for the calibration."""
        effort = EFFORTS[options.effort]
        channels = options.channels or effort.channels
        calibration = _calibration(options.calibration, channels, task, options.effort)
        precision, min_confidence = _threshold(options, calibration)
        score = options.verify_score
        given = {field.name for field in dataclasses.fields(cls)}
        kept = {name: value for name, value in vars(options).items() if name in given}
        resolved = {
            "channels": channels,
            "views": options.views or (effort.query_views if task == "match" else effort.views),
            "verify_score": effort.verify_score if score is None else score,
            "calibration": calibration,
            "precision": precision,
            "min_confidence": min_confidence,
        }
        return cls(**{**kept, **resolved})

    @property
    def keypoints(self) -> KeypointOptions:
        """The local features of this effort."""
        return EFFORTS[self.effort].keypoints

    @property
    def keeping(self) -> KeepOptions:
        """What is kept of a group, and what may go."""
        return KeepOptions(self.keep, self.prefer, self.protect, self.suggest)

    @property
    def match_score(self) -> float:
        """From which score up pairs are matched in full."""
        return EFFORTS[self.effort].match_score if "local" in self.channels else -math.inf

    def for_manifest(self) -> dict[str, Any]:
        """JSON values; the calibration by its identity."""
        settings = dataclasses.asdict(dataclasses.replace(self, calibration=IDENTITY))
        return {**settings, "calibration": self.calibration.identity}


def _calibration(
    spec: str, channels: tuple[Channel, ...], task: Task, effort: EffortName
) -> Calibration:
    """The calibration that an option names, for this task.

    InputError where the file is none; OptionError where it was made with other channels, whose
    scores mean something else, or with another version of the verification.
    """
    if spec == NO_CALIBRATION:
        return IDENTITY
    if not spec:
        return bundled_calibration(channels, task, effort)
    found = Calibration.load(storage_for(spec), spec, task)
    if found.channels and found.channels != channels:
        raise OptionError(
            f"calibration {spec} was made with the channels {','.join(found.channels)}, "
            f"not {','.join(channels)}"
        )
    if not found.is_current:
        raise OptionError(
            f"calibration {spec} was made with another version of the verification: make it "
            "again with `copydetect calibrate`"
        )
    return found


def _threshold(options: RunOptions, calibration: Calibration) -> tuple[float | None, float]:
    """The wanted precision, if any, and the confidence from which a pair is a copy; OptionError."""
    if options.min_confidence is not None:
        return None, options.min_confidence
    if options.precision is not None:
        return options.precision, calibration.threshold_for(options.precision)
    if not calibration.points:
        return None, EVEN_ODDS
    # Many sure pairs leave room for doubtful ones; none is reported at odds below even.
    threshold = calibration.threshold_for(DEFAULT_PRECISION)
    return DEFAULT_PRECISION, max(EVEN_ODDS, threshold)
