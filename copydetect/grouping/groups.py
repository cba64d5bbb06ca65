"""Verified pairs → groups of copies, each around one image that is kept.

Connected components chain strangers: one wrong pair joins two families, one collage all whose
pictures it holds. Here a component is built up again from its accepted pairs, the best supported
first, and two parts join only where the pairs between them, accepted or not, speak for it
together. A pair that is not accepted counts as much as its two images usually succeed: that two
heavy edits of a photo don't match is no surprise, that two originals with many copies each don't
match says that they are strangers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from copydetect.errors import InputError, OptionError
from copydetect.grouping.composites import apart_in_composites, copies_and_boxes
from copydetect.grouping.keepers import KeepPolicy, Preference
from copydetect.types import GroupMember

_Integers = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroupOptions:
    """How copies are grouped.

    keep: which image stays (see `keepers`). min_path_confidence: a member that was not matched
    with the kept image itself belongs to it through a third one, where the two confidences
    multiply to at least this.
    """

    keep: KeepPolicy = "largest"
    min_path_confidence: float = 0.8

    def __post_init__(self) -> None:
        policies = get_args(KeepPolicy)
        if self.keep not in policies:
            raise OptionError(f"keep is {self.keep!r}; it is one of {', '.join(policies)}")
        if not 0.0 <= self.min_path_confidence <= 1.0:
            raise OptionError(f"min_path_confidence is {self.min_path_confidence}, not in 0…1")

    def __str__(self) -> str:
        return f"keep={self.keep} min_path_confidence={self.min_path_confidence:g}"


class Verdict(NamedTuple):
    """What verification said of one pair."""

    confidence: float
    similarity: float
    is_copy: bool


class Path(NamedTuple):
    """How a member hangs on the kept image: directly, or `through` a third image."""

    through: int | None
    confidence: float
    similarity: float


_SUCCESS_OF_ANY = 1 / 3
"""The share of its copies that an image matches of which nothing is known."""

Verdicts = dict[int, dict[int, Verdict]]
"""The verified pairs among some images, both ways: image → partner → verdict."""


def group_copies(
    images: pa.Table,
    matches: pa.Table,
    options: GroupOptions | None = None,
    unreadable: Collection[str] = (),
) -> list[GroupMember]:
    """Groups of at least two images, by group_id; in a group the kept image, then by image_id.

    images: the `images` table; byte-identical files (`duplicate_of`) belong to the group of the
    image that they repeat. matches: the `matches` table. Neither's row order matters. unreadable:
    image_ids of files that could not be read, which are in no group.
    InputError where an image_id is not unique or a match or duplicate names no image.
    """
    options = options or GroupOptions()
    images = images.sort_by("image_id")
    if pc.count_distinct(images["image_id"]).as_py() != len(images):
        raise InputError("the images table has an image_id twice; image_ids are unique in a pile")
    originals = _numbers_of(images, pc.coalesce(images["duplicate_of"], images["image_id"]))
    failed = pc.is_in(images["image_id"], pa.array(list(unreadable), pa.string()))
    readable = ~pc.or_(failed, pc.equal(images["status"], "failed")).to_numpy()
    files = np.bincount(originals[readable], minlength=len(originals))
    pairs = _Pairs.of(images, originals, matches).among(files > 0)
    repeated = np.flatnonzero(files > 1)
    wanted = np.unique(np.concatenate([repeated, pairs.first, pairs.second]))
    preference = Preference.of(images, options.keep, pairs.standing(originals))
    files_of: dict[int, list[int]] = {}
    chosen = readable & np.isin(originals, wanted)
    for file in preference.order[chosen[preference.order]].tolist():
        files_of.setdefault(int(originals[file]), []).append(file)
    places = {original: place for place, original in enumerate(files_of)}

    members: list[GroupMember] = []
    grouped: set[int] = set()
    for verdicts in pairs.components(len(originals)):
        for part in agglomerate(verdicts):
            for kept, paths in hold_together(part, verdicts, places, options.min_path_confidence):
                grouped.update(paths)
                members += _members(preference, files_of, kept, paths)
    for original in sorted(set(repeated.tolist()) - grouped):
        members += _members(preference, files_of, original, {original: Path(None, 1.0, 1.0)})
    return sorted(members, key=lambda member: (member.group_id, not member.keep, member.image_id))


def agglomerate(verdicts: Verdicts) -> list[list[int]]:
    """Split a component into parts that hold together, sorted; an image alone is a part too.

    Accepted pairs are taken in the order of the partners that their images share, then of
    confidence, and join the parts of their images where the log-odds of all pairs between the
    two parts sum to more than 0 (greedy additive edge contraction, Keuper et al., ICCV 2015).
    An accepted pair gives log(c / (1 − c)). Any other gives −r·r′ ≈ log(1 − r·r′), whether it was
    refused or never proposed, where r is the share of its own part that an image matched, smoothed.
    Of an image alone no r is known: a heavy edit that matches one of ten is no stranger to the
    other nine. There all of its misses together give −log(1 + Σ r′/3), the mean of exp(−r Σ r′)
    over r of exponential distribution and mean 1/3.
    """
    parts = _Parts(verdicts)
    partners = {
        a: {b for b, verdict in of.items() if verdict.is_copy} for a, of in verdicts.items()
    }
    pairs = sorted(
        ((a, b) for a in partners for b in partners[a] if a < b),
        key=lambda ab: (
            -len(partners[ab[0]] & partners[ab[1]]),
            -verdicts[ab[0]][ab[1]].confidence,
            ab,
        ),
    )
    joined = True
    while joined:
        joined = False
        apart = [(a, b) for a, b in pairs if parts.number[a] != parts.number[b]]
        for a, b in apart:
            if parts.number[a] != parts.number[b] and parts.evidence(a, b) > 0.0:
                parts.join(a, b)
                joined = True
        pairs = apart
    return sorted(sorted(part) for part in parts.members.values())


def hold_together(
    part: list[int], verdicts: Verdicts, preference: dict[int, int], min_path_confidence: float
) -> Iterator[tuple[int, dict[int, Path]]]:
    """Groups of `part`, each as the kept image and every member's path to it (itself included).

    The kept image is the one that most others hang on, then that fewest of them were refused
    with, then the most preferred (smallest number); the 16 most preferred and the one with most
    matches stand for election. Who hangs on none is left out.
    """
    remaining = set(part)
    while len(remaining) > 1:
        hub = max(
            remaining,
            key=lambda image: (len(_copies(image, remaining, verdicts)), -preference[image]),
        )
        best: dict[int, Path] = {}
        kept, fewest = hub, 0
        for image in [*sorted(remaining, key=preference.__getitem__)[:16], hub]:
            paths = _paths_to(image, remaining, verdicts, min_path_confidence)
            refused = sum(
                path.through is not None and b in verdicts[image] for b, path in paths.items()
            )
            if (len(paths), -refused) > (len(best), -fewest):
                kept, best, fewest = image, paths, refused
            if len(best) == len(remaining) and not fewest:
                break
        if len(best) < 2:
            return
        yield kept, best
        remaining -= best.keys()


class _Parts:
    """The parts of a component while they grow."""

    def __init__(self, verdicts: Verdicts) -> None:
        self.verdicts = verdicts
        self.number = {image: image for image in verdicts}
        self.members = {image: [image] for image in verdicts}
        self._accepted = dict.fromkeys(verdicts, 0)
        self._total = dict.fromkeys(verdicts, 0)

    def evidence(self, a: int, b: int) -> float:
        """Log-odds that the parts of images a and b are one, from all pairs between them."""
        large, small = self._by_size(a, b)
        alone = len(self.members[small]) == 1
        total, missed = 0.0, self._successes(large) * (1.0 if alone else self._successes(small))
        for image, other, verdict in self._accepted_between(a, b):
            odds = verdict.confidence / max(1.0 - verdict.confidence, 0.01)
            total += max(math.log(max(odds, 1e-9)), 0.1)
            missed -= self._success(other) * (1.0 if alone else self._success(image))
        return total - (math.log1p(max(missed, 0.0) * _SUCCESS_OF_ANY) if alone else missed)

    def join(self, a: int, b: int) -> None:
        """Make the parts of a and b one."""
        large, small = self._by_size(a, b)
        self._total[large] += self._total.pop(small)
        for image, other, _ in self._accepted_between(a, b):
            self._accepted[image] += 1
            self._accepted[other] += 1
            self._total[large] += 2
        for image in self.members[small]:
            self.number[image] = large
        self.members[large] += self.members.pop(small)

    def _success(self, image: int) -> float:
        return (self._accepted[image] + 1.0) / (len(self.members[self.number[image]]) + 2.0)

    def _successes(self, part: int) -> float:
        """The sum of `_success` over a part."""
        size = len(self.members[part])
        return (self._total[part] + size) / (size + 2.0)

    def _by_size(self, a: int, b: int) -> tuple[int, int]:
        first, second = sorted((self.number[a], self.number[b]))
        larger_first = len(self.members[first]) >= len(self.members[second])
        return (first, second) if larger_first else (second, first)

    def _accepted_between(self, a: int, b: int) -> Iterator[tuple[int, int, Verdict]]:
        large, small = self._by_size(a, b)
        for image in self.members[small]:
            for other, verdict in self.verdicts[image].items():
                if verdict.is_copy and self.number[other] == large:
                    yield image, other, verdict


def _members(
    preference: Preference, files_of: dict[int, list[int]], kept: int, paths: dict[int, Path]
) -> list[GroupMember]:
    """The rows of one group: every file of every image in it."""
    ids = preference.image_ids
    kept_file = files_of[kept][0]
    files = [file for image in paths for file in files_of[image]]
    group_id = hashlib.sha256(min(ids[file] for file in files).encode()).hexdigest()[:16]
    rows = []
    for image, path in paths.items():
        for file in files_of[image]:
            if file == kept_file:
                reason = preference.why(kept_file, files)
            elif image == kept:
                reason = "same bytes as the kept image"
            else:
                reason = _why_copy(path, ids)
                if file != files_of[image][0]:
                    reason = f"same bytes as {ids[files_of[image][0]]}, a {reason}"
            rows.append(
                GroupMember(group_id, ids[file], file == kept_file, reason, path.similarity)
            )
    return rows


def _why_copy(path: Path, ids: list[str]) -> str:
    if path.through is None:
        return f"copy of the kept image (confidence {path.confidence:.2f})"
    through = ids[path.through]
    both = f"confidence of both together {path.confidence:.2f}"
    return f"copy of {through}, which is a copy of the kept image ({both})"


def _numbers_of(images: pa.Table, ids: pa.ChunkedArray) -> _Integers:
    """Rows of the images table that hold these ids; InputError for an id that none has."""
    numbers = pc.index_in(ids, value_set=images["image_id"].combine_chunks())
    if numbers.null_count:
        stranger = ids.filter(pc.is_null(numbers))[0].as_py()
        raise InputError(f"{stranger!r} is named by a match or a duplicate but is no image_id")
    return np.asarray(numbers.to_numpy(), np.int64)


def _copies(image: int, among: set[int], verdicts: Verdicts) -> list[tuple[int, Verdict]]:
    return [
        (b, verdict) for b, verdict in verdicts[image].items() if verdict.is_copy and b in among
    ]


def _paths_to(
    kept: int, among: set[int], verdicts: Verdicts, min_path_confidence: float
) -> dict[int, Path]:
    """The surest path of one pair, else of two, from each image to `kept`; itself included."""
    paths = {kept: Path(None, 1.0, 1.0)}
    direct = sorted(_copies(kept, among, verdicts))
    paths.update((b, Path(None, verdict.confidence, verdict.similarity)) for b, verdict in direct)
    matched = set(paths)
    for middle, near in direct:
        for end, far in _copies(middle, among, verdicts):
            confidence = near.confidence * far.confidence
            if end in matched or confidence < min_path_confidence:
                continue
            if end not in paths or confidence > paths[end].confidence:
                paths[end] = Path(middle, confidence, min(near.similarity, far.similarity))
    return paths


@dataclass(frozen=True)
class _Pairs:
    """Verified pairs of image numbers, each once, first < second, sorted."""

    first: _Integers
    second: _Integers
    confidence: _Floats
    similarity: _Floats
    is_copy: npt.NDArray[np.bool_]
    first_is_original: _Integers

    @classmethod
    def of(cls, images: pa.Table, originals: _Integers, matches: pa.Table) -> _Pairs:
        """Pairs of the matches table; of a pair that was verified twice the surer acceptance."""
        a = originals[_numbers_of(images, matches["query_id"])]
        b = originals[_numbers_of(images, matches["reference_id"])]
        first, second = np.minimum(a, b), np.maximum(a, b)
        confidence = matches["confidence"].to_numpy().astype(np.float64)
        similarity = pc.fill_null(matches["similarity"], math.nan).to_numpy().astype(np.float64)
        is_copy = matches["is_copy"].to_numpy().astype(bool)
        is_copy &= ~apart_in_composites(*copies_and_boxes(matches, a, b))
        order = np.lexsort((-similarity, -confidence, ~is_copy, second, first))
        order = order[first[order] != second[order]]
        new = np.ones(len(order), bool)
        new[1:] = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
        kept = order[new]
        # 1, −1 or, where the direction is unknown, 0.
        known = pc.equal(matches["direction"], "reference_is_copy").to_numpy().astype(np.int64)
        known -= pc.equal(matches["direction"], "query_is_copy").to_numpy()
        known = np.where(a == first, known, -known)
        return cls(
            first[kept],
            second[kept],
            confidence[kept],
            similarity[kept],
            is_copy[kept],
            known[kept],
        )

    def among(self, images: npt.NDArray[np.bool_]) -> _Pairs:
        """The pairs of which both are among these, given for every image number."""
        chosen = images[self.first] & images[self.second]
        return _Pairs(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def standing(self, originals: _Integers) -> _Integers:
        """1 for an image that more accepted pairs call the original than the copy, −1 or 0."""
        balance = np.zeros(len(originals), np.int64)
        said = np.where(self.is_copy, self.first_is_original, 0)
        np.add.at(balance, self.first, said)
        np.add.at(balance, self.second, -said)
        return np.sign(balance[originals])

    def components(self, image_count: int) -> Iterator[Verdicts]:
        """The verdicts inside each connected component of the accepted pairs, one at a time."""
        ends = (self.first[self.is_copy], self.second[self.is_copy])
        graph = coo_array((np.ones(len(ends[0]), bool), ends), shape=(image_count, image_count))
        _, component = connected_components(graph, directed=False)
        inside = np.flatnonzero(component[self.first] == component[self.second])
        inside = inside[np.argsort(component[self.first[inside]], kind="stable")]
        borders = np.flatnonzero(np.diff(component[self.first[inside]])) + 1
        for rows in np.split(inside, borders) if len(inside) else []:
            verdicts: Verdicts = {}
            for row in rows.tolist():
                a, b = int(self.first[row]), int(self.second[row])
                verdict = Verdict(
                    float(self.confidence[row]),
                    float(self.similarity[row]),
                    bool(self.is_copy[row]),
                )
                verdicts.setdefault(a, {})[b] = verdict
                verdicts.setdefault(b, {})[a] = verdict
            yield verdicts
