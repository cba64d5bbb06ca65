"""Which image of a group is kept, and why, in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from copydetect.errors import OptionError
from copydetect.grouping.originality import CERTAIN, Originality
from copydetect.images.raw import is_named_raw
from copydetect.options import KeepRule, Suggest

Integers = npt.NDArray[np.int64]

_BY_DEFAULT: tuple[KeepRule, ...] = ("original", "largest", "first")
"""What settles ties, whatever the rules; before these, how many files belong to a picture."""
_LESS_LIKELY = 1.5
"""Log-odds: in 800 groups with known originals, the kept image was never less than this ahead of
an original that was not kept; no original goes for it."""


@dataclass(frozen=True)
class KeepOptions:
    """Which image of a group is kept, and which others are suggested for removal.

    rules: the first that tells two images apart decides; prefer: patterns of files that are kept
    rather than others; protect: of files that are never suggested for removal; suggest: which
    copies may be suggested. A pattern is one of the shell (`*`, `?`, `[…]`) for a whole image_id or
    URI; `*` also stands for slashes.
    """

    rules: tuple[KeepRule, ...] = ("original",)
    prefer: tuple[str, ...] = ()
    protect: tuple[str, ...] = ()
    suggest: Suggest = "same_picture"

    def __post_init__(self) -> None:
        known = get_args(KeepRule)
        wrong = [rule for rule in self.rules if rule not in known]
        if wrong or not self.rules:
            said = wrong[0] if wrong else ""
            raise OptionError(f"keep is {said!r}; it is one or more of {', '.join(known)}")
        if self.suggest not in get_args(Suggest):
            choices = ", ".join(get_args(Suggest))
            raise OptionError(f"suggest is {self.suggest!r}; it is one of {choices}")

    def __str__(self) -> str:
        said = [f"keep={','.join(self.rules)}", f"suggest={self.suggest}"]
        said += [f"prefer={pattern}" for pattern in self.prefer]
        return " ".join(said + [f"protect={pattern}" for pattern in self.protect])


@dataclass(frozen=True)
class Preference:
    """An order of files by how much they are preferred; rows as in the images table.

    ranks: (n,) int64, 0 for the most preferred; protected: (n,) bool; pixels: (n,) int64, 0 where
    unknown; captured: n texts, empty where unknown.
    """

    options: KeepOptions
    originality: Originality
    ranks: Integers
    image_ids: list[str]
    preferred: npt.NDArray[np.bool_]
    protected: npt.NDArray[np.bool_]
    widths: Integers
    heights: Integers
    captured: list[str]

    @classmethod
    def of(cls, images: pa.Table, options: KeepOptions, originality: Originality) -> Preference:
        """images: the `images` table sorted by image_id."""
        preferred, protected = (
            _matching(images, patterns) for patterns in (options.prefer, options.protect)
        )
        keys: list[npt.NDArray[Any]] = [~preferred]
        for rule in options.rules:
            keys += _keys(rule, images, originality)
        keys.append(-np.asarray(pc.fill_null(pc.list_value_length(images["companions"]), 0)))
        for rule in _BY_DEFAULT:
            keys += _keys(rule, images, originality)
        order = np.lexsort(keys[::-1])
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        return cls(
            options,
            originality,
            ranks,
            images["image_id"].to_pylist(),
            preferred,
            protected,
            _integers(images, "width"),
            _integers(images, "height"),
            _captured(images),
        )

    def sorted(self, files: Sequence[int]) -> list[int]:
        """Files, the most preferred first."""
        return sorted(files, key=self.ranks.__getitem__)

    def is_certain(self, kept: int, contents: Sequence[int]) -> bool:
        """Whether the kept file is surely the original of a group; contents: one file of each
        content."""
        return self.originality.chance(kept, contents) >= CERTAIN

    def may_be_original(self, file: int, kept: int) -> bool:
        """Whether a file is hardly less likely the original than the kept one, where originals are
        what is kept."""
        if self.options.rules[0] != "original" or self.preferred[kept] > self.preferred[file]:
            return False
        best = self.originality.best
        return bool(best[kept] - best[file] < _LESS_LIKELY)

    def why(self, kept: int, contents: Sequence[int]) -> str:
        """Why file `kept` is kept among files of different contents (itself included)."""
        others = [file for file in contents if file != kept]
        if not others:
            return "all have the same bytes"
        if self.preferred[kept] and not all(self.preferred[file] for file in others):
            return "preferred by --prefer"
        first = min(contents, key=self.ranks.__getitem__)
        if first != kept:
            return f"matches more of the group than {self.image_ids[first]}, which comes first"
        return _WHY[self.options.rules[0]](self, kept, others)

    def _why_original(self, kept: int, others: list[int]) -> str:
        reasons = self.originality.why(kept, others)
        size = f"{self.widths[kept]} × {self.heights[kept]} px"
        said = "; ".join(reasons)
        if self.is_certain(kept, [kept, *others]):
            return f"the original of {len(others) + 1}: {said or size}"
        if said:
            return f"the original is uncertain, this is the likeliest: {said}"
        return f"the original is uncertain: {self._why_largest(kept, others)}"

    def _why_largest(self, kept: int, others: list[int]) -> str:
        pixels = self.widths * self.heights
        size = f"{self.widths[kept]} × {self.heights[kept]} px"
        if all(pixels[file] < pixels[kept] for file in others):
            return f"most pixels of {len(others) + 1} ({size})"
        return f"as large as others ({size})"

    def _why_captured(self, kept: int, others: list[int]) -> str:
        said = {self.captured[file] for file in others}
        if self.captured[kept] and self.captured[kept] not in said:
            return f"{self.options.rules[0]} of {len(others) + 1} (taken {self.captured[kept]})"
        return self._why_original(kept, others)

    def _why_rule(self, _: int, others: list[int]) -> str:
        said = {
            "first": "first by name",
            "raw": "raw file, or the likeliest original where none is raw,",
            "metadata": "most data on how it was taken",
            "shortest-path": "shortest path",
        }[self.options.rules[0]]
        return f"{said} of {len(others) + 1}"


_WHY = {
    "original": Preference._why_original,
    "largest": Preference._why_largest,
    "oldest": Preference._why_captured,
    "newest": Preference._why_captured,
    **dict.fromkeys(("raw", "metadata", "shortest-path", "first"), Preference._why_rule),
}


def _keys(rule: KeepRule, images: pa.Table, originality: Originality) -> list[npt.NDArray[Any]]:
    """Ascending keys of a rule, (n,) each, the more important first."""
    if rule == "original":
        return [-np.round(originality.scores, 6)]
    if rule == "largest":
        pixels = _integers(images, "width") * _integers(images, "height")
        return [-pixels, -_integers(images, "bytes") / np.maximum(pixels, 1)]
    if rule in ("oldest", "newest"):
        captured = np.array(_captured(images), str)
        _, age = np.unique(captured, return_inverse=True)
        return [captured == "", age if rule == "oldest" else -age]
    if rule == "raw":
        ids = images["image_id"].to_pylist()
        return [np.array([not is_named_raw(image_id) for image_id in ids], bool)]
    if rule == "metadata":
        return [-originality.metadata]
    if rule == "shortest-path":
        return [np.array([len(image_id) for image_id in images["image_id"].to_pylist()], np.int64)]
    return [np.arange(len(images))]


def _matching(images: pa.Table, patterns: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(n,) bool: which files' image_ids or URIs match one of the patterns."""
    if not patterns:
        return np.zeros(len(images), np.bool_)
    wanted = re.compile("|".join(translate(pattern) for pattern in patterns))
    names = zip(images["image_id"].to_pylist(), images["uri"].to_pylist(), strict=True)
    return np.array([any(map(wanted.match, pair)) for pair in names], np.bool_)


def _integers(images: pa.Table, column: str) -> Integers:
    return np.asarray(pc.fill_null(images[column], 0).to_numpy(), np.int64)


def _captured(images: pa.Table) -> list[str]:
    texts: list[str] = pc.fill_null(pc.cast(images["captured_at"], pa.string()), "").to_pylist()
    return texts
