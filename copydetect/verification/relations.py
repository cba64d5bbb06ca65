"""the best alignment of a pair → the relation of its pictures, and how sure that is.

What small copies show leaves look-alikes in doubt: other digits, leaves or people need the full
size. There the pair is aligned to well under a pixel, and what is left of it decides, by trees over
the residual beside all evidence: one sum says whether it is a copy, one sum for each relation which
of them it is. Relations that are copies speak for a copy too: the two ways to ask err apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.errors import ModelError
from copydetect.homographies import Matrix, inverse, project
from copydetect.models import MODELS
from copydetect.types import COPY_RELATIONS, Relation
from copydetect.verification import filled_designs
from copydetect.verification.designs import where_they_agree
from copydetect.verification.evidence import Evidence
from copydetect.verification.lazy import lazy
from copydetect.verification.pair_images import PairImage
from copydetect.verification.regions import outlined
from copydetect.verification.residual import Residual, measure_residual
from copydetect.verification.trees import BoostedTrees

BUNDLED_RELATIONS = MODELS / "decision-relations.json"

_OF_SMALL_COPIES = ("log_odds", "joint_log_odds")
NAMES = (*_OF_SMALL_COPIES, *filled_designs.NAMES)
"""What the trees may see, in order: the decision's own verdict, its evidence, the residual."""

TOLD: tuple[Relation, ...] = (
    "same_picture",
    "edited",
    "changed_content",
    "same_scene",
    "same_layout",
    "none",
)
"""The relations that need to be told apart; equal pixels need no trees."""

_OTHER_CONTENT: tuple[Relation, ...] = ("changed_content", "same_layout")
"""Not another photo of the scene: what is left of heavy edits is often taken for one."""
_CLIP = 1e-4
_SUREST = 9.0
_RAISED_MOST = 1.0
"""By how much, in log-odds, a closer look may raise what small copies say: it has seen look-alikes
above all, and few of the strangers that a search proposes."""
_FILLED = 0.08
_PLACES = 3
_ON_GROUND = 0.5
"""How many places of a page, and which share of its texture, must differ for it to be filled
anew; and which share of what differs there is ground that both have: else it is a picture, on which
something else is written."""
_BORDERED, _PLAIN = 0.6, 0.45
"""How much of the sides of what differs must be borders that both pictures have, and which share of
each must be plain ground, for it to be the slot of a window or page. Of the pairs of a pile that
the trees take for copies 26 of 36 strangers have both, and 2 of 130 copies; behind bars, 26 of 52
others at `--effort fast`, and 2 of 180 copies."""
_MANY_PLACES, _OF_EACH = 15, 0.01
"""How many places of two plain pages must differ, and what share of them must be content of each
alone, for one form that is filled twice: none of 630 copies on a plain ground."""
_MARKED, _MARKED_OF_ALL, _BLANK = 0.01, 0.05, 0.65
"""Which share of two pages, and of their marks, each must have for itself where the other shows the
ground, and how much must be ground: none of 670 copies on a plain ground."""
_APART_LEVELS = 40.0
"""By how much, in grey levels, half of the texture of two plain pictures must be apart even where
each may move by a px: none of 500 copies on a plain ground, some icons of one set."""
_EQUAL_LEVELS, _GLYPHS, _OF_ANOTHER_GLYPH = 3.0, 0.001, 40.0
"""By how many grey levels 99 of 100 places may miss for two pictures to be equal; which share of
them a few glyphs take, at most; and by how much these differ, at least: none of 1,729 copies of two
benchmarks."""
_ALONE, _FAR_ALONE, _FEW_PLACES = 2.0, 2.5, 3
"""How many times what 99 of 100 places have the largest difference is, where each may move by a px
and as they lie, and at how many small places there is any: two pages of which one has another glyph
are such, reduced and compressed. Of 180 re-encoded forms none has more than 1.3 and 2, and of the
copies of five sets two are such, at a confidence below .6."""
_OTHERWISE = -2.0
"""Log-odds, at most, that two such are copies."""
_SURELY_OTHER = -1.0
"""Where a design may be a copy at these log-odds at most, it is one with other content."""
_PARTLY, _NO_ICON_PX = 0.9, 100
"""Which share of either picture, at most, lies on the other one where a design is laid on itself
moved by a row or a column, as of calendars, boards and tables: edge on edge, too, nearly all
agrees. Of 1,850 copies in five sets 257 share no more than .93 of either, and one is such: an icon.
Those are smaller than this, and a px is much of them."""
_SAME_LEVELS = 40.0
"""By how many grey levels no place of one picture differs, apart from sharpness: of 100 that were
converted, reduced or compressed one does, by 44; of 14 pairs of icons that the trees take for one
picture, though a line, a tone or a word is another, 12 do."""
_NOTHING_LEVELS, _SURE = 16.0, 4.6
"""By how many grey levels no place differs where each may move by a px, and the log-odds, at least,
that such two are copies: 152 of 153 pairs of a benchmark are; look-alikes differ by 34 or more."""
_LEFT_OF_CONTRAST, _APART_OF_CONTRAST = 0.3, 0.4
"""Two drawings say the same where they differ by no more than these shares of the contrast around
each place: the first where each may move by a px, the second as they lie."""
_EVEN, _HARDLY_APART = 1.9, 0.2
"""A digit that differs on a reduced page leaves as little as heavy compression, but at one place
alone. So the largest difference may be so many times what 99 of 100 places have, and more only
where it is below this share of the contrast."""
_COVERED, _SAME_COLOURS, _AS_SURE = 0.8, 0.9, 3.5
"""Which share of each drawing the other must show; how alike their colours must vary, as a
correlation; and the log-odds, at least, that two such are copies. 136 of 401 copies of drawings are
such, and none of 1,200 others. Of forms of 350 to 700 px at three qualities that differ in one word
none of 135 is; of those that differ in a dot and a comma, or an l and an I, 22 of 45 are: the
reduction changes more than that."""
_PLAIN_OF_PHOTO, _TEXTURED, _GRAIN = 0.3, 0.35, 0.4
"""Less plain ground, more texture and more grain, in grey levels, than this have photos, not what
is drawn."""
_UNIT_FRAME = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)
_UNMOVED, _UNMOVED_PX = 0.03, 1.5
"""Share of a side, or pixels of the smaller picture, by which a corner may miss: scanners turn."""
_JOINED_PX = 9
_MOVED_ALL_OVER = 0.15
"""Of the blocks with texture: where more are displaced, the camera or everything has moved."""


@dataclass(frozen=True, eq=False)
class RelationVerdict:
    """The prediction of the trees for one pair.

    confidence: 0…1, that the pair are copies; shares: of TOLD, summing to 1; residual: what was
    measured at full size.
    """

    confidence: float
    shares: npt.NDArray[np.float64]
    residual: Residual

    @property
    def other_content(self) -> float:
        """0…1, that they are one page, picture or layout with other content."""
        shares = {one: float(self.shares[TOLD.index(one)]) for one in TOLD}
        refused = sum(shares[one] for one in TOLD if one not in COPY_RELATIONS)
        other = sum(shares[one] for one in _OTHER_CONTENT)
        return (1 - self.confidence) * other / max(refused, 1e-9)

    def relation(self, is_copy: bool, is_resize: bool) -> Relation:
        """The likeliest relation of those that go with `is_copy`.

        is_resize: whether the transform only scales; no other makes the same picture.
        """
        among = [one for one in TOLD if (one in COPY_RELATIONS) == is_copy]
        if is_copy and not (is_resize and self.residual.apart_levels <= _SAME_LEVELS):
            among.remove("same_picture")
        if not is_copy and self._are_smooth() and self.residual["textured"] < _TEXTURED:
            among.remove("same_scene")
        likeliest = max(among, key=lambda one: float(self.shares[TOLD.index(one)]))
        if likeliest == "changed_content" and self._is_filled_anew():
            return "same_layout"
        if likeliest == "same_layout" and self._are_photos():
            scene, none = (float(self.shares[TOLD.index(one)]) for one in ("same_scene", "none"))
            return "same_scene" if scene > none else "none"
        return likeliest

    def _are_photos(self) -> bool:
        """Whether texture is nearly everywhere: pages and designs have a ground of their own."""
        plain = min(self.residual["plain"], self.residual["plain_reference"])
        textured = plain < _PLAIN_OF_PHOTO and self.residual["textured"] > _TEXTURED
        return textured and not self._are_smooth()

    def _are_smooth(self) -> bool:
        """Whether quiet places have no grain, as what is drawn has not even on a gradient."""
        return all(self.residual[name] < _GRAIN for name in ("grain_query", "grain_reference"))

    def _is_filled_anew(self) -> bool:
        """Whether so many places of a page differ that only the form agrees."""
        places = max(self.residual["patches"], self.residual["blobs"])
        on_picture = self.residual["all_ground"] < _ON_GROUND
        differs = self.residual["middle_differs"] > _FILLED
        return places >= _PLACES and differs and not on_picture


@dataclass(frozen=True, eq=False)
class RelationDecision:
    """Shares of TOLD: the softmax of the sums of `relations`, one for each. P(copy) = σ(slope · sum
    of `copy` + told_slope · log-odds of the shares that are copies + intercept)."""

    copy: BoostedTrees
    relations: Sequence[BoostedTrees]
    slope: float
    told_slope: float
    intercept: float

    @lazy
    def _every_tree(self) -> BoostedTrees:
        return BoostedTrees.joined([self.copy, *self.relations])

    def judge(
        self, values: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(n,) log-odds of being copies and (n, len(TOLD)) probabilities, for vectors
        (n, len(NAMES))."""
        several = [self.copy, *self.relations]
        starts = np.cumsum([0, *(len(trees.feature) for trees in several[:-1])])
        sums = np.add.reduceat(self._every_tree.leaves(values), starts, axis=1)
        sums += [trees.bias for trees in several]
        powers = np.exp(sums[:, 1:] - sums[:, 1:].max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        odds = self.slope * sums[:, 0] + self.told_slope * odds_told(shares) + self.intercept
        return np.clip(odds, -_SUREST, _SUREST), shares


def odds_told(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n,) log-odds of being copies, of the shares (n, len(TOLD)) of relations."""
    copies = [TOLD.index(one) for one in TOLD if one in COPY_RELATIONS]
    return _log_odds(shares[:, copies].sum(axis=1))


def _log_odds(shares: npt.ArrayLike) -> npt.NDArray[np.float64]:
    said = np.clip(np.asarray(shares, np.float64), _CLIP, 1 - _CLIP)
    return np.asarray(np.log(said / (1 - said)), np.float64)


@lru_cache(maxsize=4)
def load_relations(path: Path = BUNDLED_RELATIONS) -> RelationDecision:
    """Read the decision from JSON; ModelError where it is none."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        shared = {"inputs": stored["inputs"]}
        return RelationDecision(
            copy=BoostedTrees.parse(shared | stored["copy"], NAMES),
            relations=[
                BoostedTrees.parse(shared | stored["relations"][one], NAMES) for one in TOLD
            ],
            slope=float(stored["slope"]),
            told_slope=float(stored["told_slope"]),
            intercept=float(stored["intercept"]),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelError(f"{path} is not a decision on relations: {error}") from error


def look_closely(
    best: Evidence, joint_confidence: float, query: PairImage, reference: PairImage
) -> RelationVerdict | None:
    """Open a pair at full size and judge it; None where that shows nothing to measure.

    best: the surest alignment; joint_confidence: what all alignments together say.
    """
    closer = closer_values(best, joint_confidence, query, reference)
    if closer is None:
        return None
    values, residual = closer
    (found,), (shares,) = load_relations().judge(values[None])
    odds = min(float(found), float(values[NAMES.index("joint_log_odds")]) + _RAISED_MOST)
    if _nothing_differs(residual, query, reference):
        odds = max(odds, _SURE)
    elif _says_the_same(residual, best):
        odds = max(odds, _AS_SURE)
    elif _only_frame_is_shared(residual) or _is_moved_design(best, query, reference):
        odds, shares = min(odds, _OTHERWISE), _certainly("same_layout")
    elif _has_other_glyphs(residual):
        odds, shares = min(odds, _OTHERWISE), _certainly("changed_content")
    elif _hardly_agrees(residual):
        odds = min(odds, _OTHERWISE)
    else:
        most = filled_designs.most_odds(values[len(_OF_SMALL_COPIES) :], residual)
        if most < _SURELY_OTHER < odds:
            shares = _certainly(_likelier(shares))
        odds = min(odds, most)
    confidence = 1 / (1 + math.exp(-odds))
    return RelationVerdict(confidence, shares, residual)


def _only_frame_is_shared(residual: Residual) -> bool:
    """Whether both pictures show one window, page or form, each with content of its own."""
    plain = min(residual["plain"], residual["plain_reference"])
    in_slot = residual["slot"] >= _BORDERED
    of_each = min(residual["middle_query"], residual["middle_reference"])
    in_places = residual["patches"] >= _MANY_PLACES and of_each >= _OF_EACH
    own, shared = residual["own_marks"], residual["shared_marks"]
    marked = own > _MARKED and own > _MARKED_OF_ALL * (own + shared) and plain >= _BLANK
    return marked or (plain >= _PLAIN and (in_slot or in_places))


def _is_moved_design(best: Evidence, query: PairImage, reference: PairImage) -> bool:
    """Whether two pages of one design agree where one is moved, only because its rows or columns
    are alike."""
    partly = max(best["query_overlap"], best["reference_overlap"]) <= _PARTLY
    sides = min(max(one.full_width_px, one.full_height_px) for one in (query, reference))
    return partly and sides >= _NO_ICON_PX and where_they_agree(query, reference) is not None


def _likelier(shares: npt.NDArray[np.float64]) -> Relation:
    """Which of the relations with other content on one page or layout is the likelier one."""
    return max(_OTHER_CONTENT, key=lambda one: float(shares[TOLD.index(one)]))


def _certainly(relation: Relation) -> npt.NDArray[np.float64]:
    return np.asarray(np.eye(len(TOLD))[TOLD.index(relation)], np.float64)


def _has_other_glyphs(residual: Residual) -> bool:
    """Whether each of two pictures has glyphs of its own, at a few places, and all else is equal,
    or differs by far less, as on pages that are reduced and compressed."""
    equal = residual["rest_p99"] < _EQUAL_LEVELS
    marked = residual["blob_both"] > 0 and residual["blob_one"] == 0
    page = min(residual["plain"], residual["plain_reference"]) >= _PLAIN
    alone = residual["rest_ratio"] > _ALONE and residual["raw_ratio"] > _FAR_ALONE
    few = 0 < residual["blobs"] <= _FEW_PLACES
    differs = residual["blob_area"] < _GLYPHS and residual["rest_peak"] > _OF_ANOTHER_GLYPH
    return differs and marked and (equal or (page and alone and few))


def lies_on_whole(residual: Residual, query: PairImage, reference: PairImage) -> bool:
    """Whether the frames lie on each other, so that nothing of either picture is missing."""
    large = query.at_full_size(), reference.at_full_size()
    matrix = large[1].to_full @ residual.matrix @ inverse(large[0].to_full)
    return is_resize(np.asarray(matrix / matrix[2, 2], np.float64), query, reference)


def _nothing_differs(residual: Residual, query: PairImage, reference: PairImage) -> bool:
    """Whether two pictures are equal but for noise, and nothing of either is missing."""
    return residual["rest_peak"] < _NOTHING_LEVELS and lies_on_whole(residual, query, reference)


def _says_the_same(residual: Residual, best: Evidence) -> bool:
    """Whether two drawings, of which each shows most of the other, differ nowhere by more than
    compression, scaling or sharpening leaves along their lines."""
    plain = min(residual["plain"], residual["plain_reference"])
    covered = min(best["query_covered"], best["reference_covered"])
    recoloured = residual["colour_correlation"] < _SAME_COLOURS
    if plain < _PLAIN_OF_PHOTO or covered < _COVERED or recoloured:
        return False
    left, apart = residual.of_contrast()
    even = residual["raw_ratio"] < _EVEN or apart < _HARDLY_APART
    return left < _LEFT_OF_CONTRAST and apart < _APART_OF_CONTRAST and even


def _hardly_agrees(residual: Residual) -> bool:
    """Whether two drawings agree in their grounds alone."""
    plain = min(residual["plain"], residual["plain_reference"])
    return plain >= _PLAIN and residual["rest_p50"] > _APART_LEVELS


def closer_values(
    best: Evidence, joint_confidence: float, query: PairImage, reference: PairImage
) -> tuple[npt.NDArray[np.float32], Residual] | None:
    """(len(NAMES),) the input of the trees for a pair, and the residual that it is computed
    from."""
    large = query.at_full_size(), reference.at_full_size()
    matrix = best.alignment.matrix @ np.linalg.inv(query.to_full)
    matrix = inverse(large[1].to_full) @ reference.to_full @ matrix @ large[0].to_full
    residual = measure_residual(np.asarray(matrix / matrix[2, 2], np.float64), *large)
    if residual is None:
        return None
    log_odds = _log_odds([best.confidence, joint_confidence]).astype(np.float32)
    return np.concatenate([log_odds, best.values, residual.values]), residual


def is_resize(matrix: Matrix, query: PairImage, reference: PairImage) -> bool:
    """Whether the frame of one picture comes to lie on the frame of the other, corner on corner.

    matrix: query px → reference px at full size. Icons are aligned to a pixel of the smaller one.
    """
    sizes = [(one.full_width_px, one.full_height_px) for one in (query, reference)]
    ours, theirs = (_UNIT_FRAME * size - 0.5 for size in sizes)
    apart = np.abs(project(matrix, ours) - theirs)
    px_of_smaller = max(1.0, math.sqrt(math.prod(sizes[1]) / math.prod(sizes[0])))
    limits = np.maximum(_UNMOVED * np.array(sizes[1]), _UNMOVED_PX * px_of_smaller)
    return bool((apart <= limits).all())


def differing_regions(residual: Residual, query: PairImage) -> list[list[float]]:
    """Polygons around what differs, in full-size px of the query, the largest first.

    query: the image that `residual` was measured of.
    """
    near = np.ones((_JOINED_PX, _JOINED_PX), np.uint8)
    joined = cv2.morphologyEx(residual.differs.astype(np.uint8), cv2.MORPH_CLOSE, near)
    return outlined(np.asarray(joined, np.uint8), query.to_full @ inverse(residual.pair.to_frame))


def why(relation: Relation, residual: Residual, regions: int) -> str:
    """What the comparison at full size says, in words; nothing where it adds none."""
    if relation == "changed_content":
        where = "one place" if regions == 1 else f"{regions} places"
        return f"the same picture or page, but it says something else in {where}"
    if relation == "same_scene":
        if residual["moved"] > _MOVED_ALL_OVER:
            return "another photo of the scene: edges are displaced all over"
        return "another photo of the scene: something moved on a ground that stands still"
    if relation == "same_layout":
        return "one layout or design with other content: what agrees surrounds what differs"
    if relation == "same_picture":
        return "nothing differs at full size but quality"
    return ""
