"""The options of a run, resolved: what an effort sets, the threshold, the options of each stage."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from copydetect.candidates.fusion import CandidateOptions
from copydetect.description import keypoints
from copydetect.description.describing import DescriberOptions
from copydetect.description.keypoints import MATCHED, KeypointOptions
from copydetect.description.views import ViewOptions
from copydetect.errors import OptionError
from copydetect.grouping.keepers import KeepOptions
from copydetect.images.decoding import DecodeOptions
from copydetect.index.partitions import IndexOptions
from copydetect.options import (
    DEFAULT_PRECISION,
    EVEN_ODDS,
    NO_CALIBRATION,
    Channel,
    Count,
    EffortName,
    KeepRule,
    RunOptions,
    Suggest,
)
from copydetect.search.queries import SearchOptions
from copydetect.storage.files import Storage
from copydetect.verification.calibration import (
    IDENTITY,
    Calibration,
    Task,
    bundled_calibration,
)
from copydetect.verification.match_parts import VerifyOptions
from copydetect.verification.matches import MatchOptions

COPY_SCORE = 0.8
"""Cosine similarity of near pairs, of which crowds are made. Of the candidates of `match` on the
benchmark of `.github/FIGURES.md` that have it, half are copies; the others are pages and garments
that look alike."""
_DESCRIPTOR_NEIGHBORS = 50
"""How many neighbours a query keeps. `copydetect benchmark effort`: the best 10 candidates hold
.971 of the copies among 1,120 references, the best 50 .979; the far neighbours also tell how
crowded it is around an image (`candidates.densities`)."""
_FEATURE_NEIGHBORS = 8
"""How many neighbours a local feature keeps: about 8 serve one copy of an image as well as ten, see
`search.votes`."""
_FAMILY_DISTANCE = 0.06
"""In families of 20 and more re-encodings of a picture the eighth nearest is at .03 to .05 or
less, in crowds of one design at .03 to .1, elsewhere at .14 and more."""
_FEATURE_PROBES = 4
"""Inverted lists that a feature visits. Six find no more copies of edited pictures, and take a
fifth more time."""
_FEATURES_PER_LIST = 20
"""Features per list that the lists are trained on."""


@dataclass(frozen=True)
class Effort:
    """What one level of `effort` sets.

    channels; views: of the images of a pile; query_views: where queries meet references, of these,
    and of queries, which are fewer and more often copies; keypoints: the local features;
    verify_score, query_verify_score: candidates are verified from this score up, in log-odds;
    match_score: they are matched in full from this score up; doubt: they are compared at full size
    where small copies make them this probable.
    """

    channels: tuple[Channel, ...]
    views: str
    query_views: str
    keypoints: KeypointOptions
    verify_score: float
    query_verify_score: float
    match_score: float
    doubt: float


_BOTH: tuple[Channel, ...] = ("descriptor", "local")
_ALL_VIEWS = "whole,crops,frames"

# On the benchmarks of `.github/FIGURES.md`, verify_score −6.9 leaves 1,715 of 9,200 candidates of
# `match`, which hold 541 of 544 copies, and 1,632 of 7,456 of the pile, which hold 1,106 of 1,172.
# match_score −4 leaves 567 and 1,084, with 527 and 1,016 of the copies. With fast, −6.2 instead of
# −6.5 loses 5 of 518 copies of `match`, and of a third of the pile 2 of 267. A doubt of .2 instead
# of .02 loses none of 837 copies of the pile, nor of 220 of a night, of which none is below .5 and
# .3; refused pairs below it have no relation.
EFFORTS: dict[EffortName, Effort] = {
    "fast": Effort(("local",), "whole", "whole", keypoints.FAST, -6.2, -6.5, -4.0, 0.2),
    "standard": Effort(_BOTH, "whole", "whole,frames", keypoints.STANDARD, -6.9, -6.9, -4.0, 0.02),
    "thorough": Effort(
        *(_BOTH, _ALL_VIEWS, _ALL_VIEWS, keypoints.THOROUGH), -9.0, -9.0, -math.inf, 0.02
    ),
}


@dataclass(frozen=True)
class Settings:
    """What decides the results of a run, and nothing else: no paths of outputs, no engine.

    Fields are those of `RunOptions`, filled in. calibration: as loaded; min_confidence: as given,
    or where the calibration reaches `precision`; check: whether the run plants copies of its own
    to set it anew, but never below least_confidence.
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
    check: bool
    least_confidence: float
    count: tuple[Count, ...]
    keep: tuple[KeepRule, ...]
    prefer: tuple[str, ...]
    protect: tuple[str, ...]
    suggest: Suggest
    max_megapixels: float

    @classmethod
    def of(cls, options: RunOptions, task: Task, storage: Storage) -> Settings:
        """Resolve the options for a task; InputError or OptionError where they contradict each
        other."""
        effort = EFFORTS[options.effort]
        channels = options.channels or effort.channels
        calibration = _calibration(storage, options, channels, task)
        precision, min_confidence = _threshold(options, calibration)
        asked = task == "match"
        score = effort.query_verify_score if asked else effort.verify_score
        given = {field.name for field in dataclasses.fields(cls)}
        kept = {name: value for name, value in vars(options).items() if name in given}
        resolved = {
            "channels": channels,
            "views": options.views or (effort.query_views if asked else effort.views),
            "verify_score": score if options.verify_score is None else options.verify_score,
            "calibration": calibration,
            "precision": precision,
            "min_confidence": min_confidence,
            # A calibration that was given is one for these images already.
            "check": options.check and precision is not None and not options.calibration,
            "least_confidence": EVEN_ODDS if options.precision is None else 0.0,
        }
        settings = cls(**{**kept, **resolved})
        settings._check()
        return settings

    def _check(self) -> None:
        """OptionError where the options of a stage are out of range."""
        _ = (self.candidates, self.verification, self.descriptor_index, self.feature_index)
        _ = self.describing

    @property
    def keypoints(self) -> KeypointOptions:
        """The local features of this effort."""
        return EFFORTS[self.effort].keypoints

    @property
    def keeping(self) -> KeepOptions:
        """Which image of a group is kept, and which may be suggested for removal."""
        return KeepOptions(self.keep, self.prefer, self.protect, self.suggest)

    @property
    def match_score(self) -> float:
        """The score from which pairs are matched with all their features."""
        return EFFORTS[self.effort].match_score if "local" in self.channels else -math.inf

    @property
    def describing(self) -> DescriberOptions:
        """What is made of each image."""
        return DescriberOptions(
            views=ViewOptions.parse(self.views),
            keypoints=self.keypoints,
            decoding=self.decoding,
        )

    @property
    def decoding(self) -> DecodeOptions:
        """How image files are read."""
        return DecodeOptions(self.max_megapixels)

    @property
    def descriptor_index(self) -> IndexOptions:
        """The index of descriptors."""
        return IndexOptions(
            codes=self.index, lists=self.lists, shards=self.shards, probes=self.probes
        )

    def descriptor_search(self, symmetric: bool) -> SearchOptions:
        """The search of descriptors; symmetric: of a collection in itself."""
        return SearchOptions(
            k=_DESCRIPTOR_NEIGHBORS,
            exclude="image" if symmetric else "none",
            connect_score=COPY_SCORE if symmetric else float("inf"),
            capped_score=COPY_SCORE,
        )

    @property
    def feature_index(self) -> IndexOptions:
        """The index of local features."""
        return IndexOptions(
            codes="PQ16",
            metric="l2",
            shards=self.shards,
            probes=_FEATURE_PROBES,
            training_per_list=_FEATURES_PER_LIST,
        )

    def feature_search(self, symmetric: bool) -> SearchOptions:
        """The search of local features; symmetric: of a collection in itself."""
        # In a collection, a feature finds itself; what repeats in its own picture says little.
        return SearchOptions(k=_FEATURE_NEIGHBORS + symmetric)

    def family_distance(self, symmetric: bool) -> float:
        """What tells large families (see `votes.vote`); symmetric: whether a collection is searched
        in itself. Descriptors recognise them where there are some, otherwise the features."""
        alone = symmetric and "descriptor" not in self.channels
        return _FAMILY_DISTANCE if alone else 0.0

    @property
    def candidates(self) -> CandidateOptions:
        """Which pairs become candidates."""
        floor = float("inf") if self.min_score is None else self.min_score
        return CandidateOptions(self.k, floor, connect_similarity=COPY_SCORE)

    @property
    def verification(self) -> VerifyOptions:
        """Which candidates are verified, and how, in a collection that is large enough."""
        return VerifyOptions(
            min_score=self.verify_score,
            enough=self.k,
            matching=MatchOptions(
                min_confidence=self.min_confidence,
                counted=self.count,
                match_score=self.match_score,
                doubt=EFFORTS[self.effort].doubt,
                features=max(MATCHED, self.keypoints, key=attrgetter("max_keypoints")),
            ),
            decoding=self.decoding,
            calibration=self.calibration,
        )

    def for_manifest(self) -> dict[str, Any]:
        """JSON values; the calibration by its identity."""
        settings = dataclasses.asdict(dataclasses.replace(self, calibration=IDENTITY))
        return {**settings, "calibration": self.calibration.identity}


def _calibration(
    storage: Storage, options: RunOptions, channels: tuple[Channel, ...], task: Task
) -> Calibration:
    """The calibration that an option names, for this task.

    InputError where the file is none; OptionError where it was made with other channels, whose
    scores mean something else, or with another version of the verification.
    """
    spec = options.calibration
    if spec == NO_CALIBRATION:
        return IDENTITY
    if not spec:
        return bundled_calibration(channels, task, options.effort)
    found = Calibration.load(storage, spec, task)
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
