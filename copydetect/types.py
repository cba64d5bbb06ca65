"""The values that flow from stage to stage, in the order of the flow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Pixels = npt.NDArray[np.uint8]
"""An image: (height, width, 3), uint8, RGB."""

Role = Literal["image", "query", "reference"]
"""What an image is in a run: `dedup` has images, `match` has queries and references."""

Direction = Literal["query_is_copy", "reference_is_copy", "unknown"]

Relation = Literal[
    "identical",
    "same_picture",
    "edited",
    "changed_content",
    "same_scene",
    "same_layout",
    "none",
]
"""What two pictures are to each other, from the closest on.

identical: the same pixels; same_picture: one is the other in another format, quality or size;
edited: one was made from the other by cropping, turning, recolouring, drawing over, pasting;
changed_content: like that, but a part of what both show says something else; same_scene: two photos
of one scene; same_layout: one page, form, window or design with other content; none: strangers.
"""

COPY_RELATIONS: tuple[Relation, ...] = ("identical", "same_picture", "edited")
"""The relations of copies."""


@dataclass(frozen=True)
class ImageRef:
    """Where the bytes of one image are.

    `uri` is a file; where the image is only a part of it (a tar member, a Parquet row),
    `member` tells which: "offset:size" in bytes for a tar, "row_group:row:column" for Parquet.
    """

    image_id: str
    uri: str
    member: str = ""
    role: Role = "image"


ImageStatus = Literal["ok", "duplicate", "failed"]


@dataclass(frozen=True)
class ImageRow:
    """A row of the `images` table: what is known of one image of the input.

    sha256 in hex; width, height in px, upright; bytes: size of the file; transparent: whether the
    ground shows through anywhere; frames: of an animation, else 1; duration_msec: of an animation,
    None where it is not one or too long to be decoded as a whole; companions: where the files are
    that belong to it, such as the film of a live photo, the RAW of a JPEG, the settings of an
    editor, None where that was not looked at; captured_at: when the
    camera says that it took the picture; duplicate_of: image_id of a byte-identical image that
    stands for this one, where both can be read.
    """

    image_id: str
    role: Role
    uri: str
    member: str
    sha256: str | None
    format: str | None
    width: int | None
    height: int | None
    bytes: int | None
    captured_at: datetime | None
    duplicate_of: str | None
    status: ImageStatus
    transparent: bool | None = None
    frames: int | None = None
    duration_msec: int | None = None
    companions: Sequence[str] | None = None

    @property
    def ref(self) -> ImageRef:
        """Where the bytes are."""
        return ImageRef(self.image_id, self.uri, self.member, self.role)


@dataclass(frozen=True)
class Failure:
    """One image that could not be processed: where, and why.

    retryable: whether another try may succeed although nothing is done about the image, as after
    want of memory or a time-out.
    """

    image_id: str
    uri: str
    stage: str
    error_type: str
    message: str
    role: Role = "image"
    retryable: bool = False


DEADLY = "its process was ended: it breaks a library, or is too large for the memory"
"""What is said of an image that ends whichever process opens it."""


@dataclass(frozen=True)
class Keypoints:
    """Local features of one image's thumbnail, at most a few hundred, strongest first.

    x, y: (n,) uint8, position in 1/256 of the thumbnail's longer side;
    scale: (n,) uint8, 16 · log2 of the keypoint's diameter in thumbnail pixels;
    angle: (n,) uint8, in 1/256 turn; codes: (n, m) uint8, quantised descriptors;
    model: identity of the extractor and quantiser.
    """

    image_id: str
    width_px: int
    height_px: int
    x: npt.NDArray[np.uint8]
    y: npt.NDArray[np.uint8]
    scale: npt.NDArray[np.uint8]
    angle: npt.NDArray[np.uint8]
    codes: npt.NDArray[np.uint8]
    model: str


@dataclass(frozen=True)
class Candidate:
    """A pair that may be copies. All scores are higher-is-better; NaN where a channel is silent.

    crowded: both images, of `match` the query, have so many near neighbours that these are a family
    of copies or a crowd of look-alikes. The search cannot tell which, so the score is −6 at most.
    spare: the pair is in a crowd that is larger than an ordinary family, in which other pairs of
    both images are verified first, and this one only if these do not bring the two into one group.
    """

    query_id: str
    reference_id: str
    similarity: float
    descriptor_score: float
    votes: float
    local_score: float
    score: float
    query_view: str
    reference_view: str
    rank: int
    crowded: bool = False
    spare: bool = False

    @classmethod
    def unscored(cls, query_id: str, reference_id: str) -> Candidate:
        """A pair that no search has proposed."""
        return cls(query_id, reference_id, *(math.nan,) * 4, 0.0, "", "", 0)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Candidate:
        """A row of the `candidates` table; NaN instead of null."""
        silent = {name: math.nan for name in _OF_CHANNELS if row[name] is None}
        return cls(**{**row, **silent})


_OF_CHANNELS = ("similarity", "descriptor_score", "votes", "local_score")


@dataclass(frozen=True)
class Match:
    """The verdict on one candidate, with its evidence.

    confidence: probability in [0, 1] that the pair are copies; is_copy: whether that is enough;
    proof: what the pixels alone say, before the search's score counts, None where it is not known;
    other_content: how probable the pixels alone make it that both are one page, picture or layout
    with other content, for which the search's score would be as high;
    relation: one of `COPY_RELATIONS` where is_copy, or one that was asked to count too, else one of
    the others; transform: 9 numbers,
    row-major 3×3, query px → reference px of the upright images at full size, empty where none was
    found; query_region, reference_region: polygons, each a flat list x, y, x, y, … in px of its
    image; the n-th of both show the same. There is one, that of `transform`, and more after it
    where parts moved or are shown apart. differs_region: polygons alike, in px of the query, around
    what both pictures show at one place with other content.
    """

    query_id: str
    reference_id: str
    similarity: float
    score: float
    confidence: float
    is_copy: bool
    relation: Relation
    direction: Direction
    transform: list[float]
    inliers: int
    query_region: list[list[float]]
    reference_region: list[list[float]]
    differs_region: list[list[float]]
    edits: list[str]
    reason: str
    query_uri: str = ""
    reference_uri: str = ""
    proof: float | None = None
    other_content: float | None = None

    @classmethod
    def of_strangers(
        cls, query_id: str, reference_id: str, similarity: float, score: float, reason: str
    ) -> Match:
        """The verdict on a proposed pair for which no evidence was found."""
        return cls(
            query_id=query_id,
            reference_id=reference_id,
            similarity=similarity,
            score=score,
            confidence=0.0,
            is_copy=False,
            relation="none",
            direction="unknown",
            transform=[],
            inliers=0,
            query_region=[],
            reference_region=[],
            differs_region=[],
            edits=[],
            reason=reason,
        )


@dataclass(frozen=True)
class GroupMember:
    """One image of a group of copies; exactly one member of a group is kept.

    suggested: for removal; relation: to the kept image, the least close of the pairs on the way to
    it; kept_id: the image that stays where this one goes, else the kept one; certain: whether the
    kept image is surely the original of the group; similarity_to_kept: the least on the way.
    """

    group_id: str
    image_id: str
    keep: bool
    suggested: bool
    relation: Relation
    kept_id: str
    certain: bool
    reason: str
    similarity_to_kept: float
