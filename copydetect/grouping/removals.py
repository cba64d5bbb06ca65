"""A member of a group → whether it may be removed: only where the kept image shows everything that
it shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from copydetect.grouping.holding import Path, Sizes, shared_area
from copydetect.grouping.keepers import Preference
from copydetect.grouping.pairs import VerifiedPairs
from copydetect.types import Relation

_CLOSENESS: tuple[Relation, ...] = ("identical", "same_picture", "edited", "changed_content")
"""Those that pairs of a group may have; the last only where it was asked for, and such a picture is
never suggested for removal."""
_ALL_OF_IT = 0.96
"""Of a picture: rounding and the search for the transform leave that much of a whole."""
_LARGER = 1.05
"""Times the px of a picture that the kept image has for it: less is rounding."""
_FINER_OCTAVES = 0.6
_CLEANER_OCTAVES = 1.0
NOT_ASKED_FOR = "not asked for"
NOT_PROVED = "compared with the kept image, and not proved to be a copy of it"
NOT_COMPARED = "not compared with the kept image"
"""A picture between the two may show less than both, so that it tells nothing of what differs."""
_ADDS = ("drawn", "pasted", "cropped or pasted")
"""First words of edits by which a picture may show something of its own."""


@dataclass(frozen=True)
class Removals:
    """Tells what may go; pairs, sizes, preference, transparent: of all files, the last (n,) bool,
    whether the ground shows through."""

    pairs: VerifiedPairs
    sizes: Sizes
    preference: Preference
    transparent: npt.NDArray[np.bool_]

    def relation(self, path: Path) -> Relation:
        """What a member is to the kept image: the least close of the pairs on the way."""
        steps = [self.pairs.relation[row] for row in path.steps]
        return max((_closest(step) for step in steps), key=_CLOSENESS.index, default="identical")

    def objection(self, path: Path, image: int, kept: int) -> str:
        """Why a member must stay, "" where nothing speaks against its going."""
        relation = self.relation(path)
        if _CLOSENESS.index(relation) > self._least_close:
            return NOT_ASKED_FOR
        if relation != "identical" and self.preference.may_be_original(image, kept):
            return "may be the original as well"
        if len(path.steps) > 1:
            pair = min(image, kept), max(image, kept)
            return NOT_PROVED if pair in self._refused else NOT_COMPARED
        if relation == "edited" and self._may_add(path):
            return "may show something that the kept image does not"
        shared, own, _ = shared_area(path.to_kept, self.sizes.frame(image), self.sizes.frame(kept))
        if not shared >= _ALL_OF_IT * own:
            return "shows more than the kept image"
        if relation == "identical":
            return ""
        if own > _LARGER * self._px(image) and self.pairs.is_original(path.steps[-1], image):
            return "the kept image is an enlarged copy of it"
        return self._better(image, kept)

    @cached_property
    def _refused(self) -> frozenset[tuple[int, int]]:
        """The pairs that were verified and are no copies."""
        rows = ~self.pairs.is_copy
        first, second = self.pairs.first[rows].tolist(), self.pairs.second[rows].tolist()
        return frozenset(zip(first, second, strict=True))

    @property
    def _least_close(self) -> int:
        suggest = self.preference.options.suggest
        return -1 if suggest == "nothing" else _CLOSENESS.index(suggest)

    def _may_add(self, path: Path) -> bool:
        edits = [edit for row in path.steps for edit in self.pairs.edits[row]]
        return any(edit.startswith(_ADDS) for edit in edits)

    def _px(self, image: int) -> float:
        return float(self.sizes.widths[image] * self.sizes.heights[image])

    def _better(self, image: int, kept: int) -> str:
        """In what a member is better than the kept image, if in anything."""
        if self.transparent[image] and not self.transparent[kept]:
            return "transparent, and the kept image is not"
        originality = self.preference.originality
        detail, coarseness = (originality.sign(name) for name in ("detail", "coarseness"))
        if detail[image] > detail[kept] + _FINER_OCTAVES:
            return "shows more detail than the kept image"
        same_size = (self.sizes.frame(image) == self.sizes.frame(kept)).all()
        if same_size and coarseness[kept] > coarseness[image] + _CLEANER_OCTAVES:
            return "compressed less than the kept image"
        return ""


def _closest(relation: str) -> Relation:
    """One of these; any other counts as edited."""
    return next((one for one in _CLOSENESS if one == relation), "edited")
