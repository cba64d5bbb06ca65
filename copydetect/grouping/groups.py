"""Verified pairs → groups of copies, each around one image that is kept.

matches → pairs → components → parts that hold together → the kept image of each, the paths of its
members, and which of them may go

Not all pairs are verified at first. Of a family of more than two dozen copies each image is
compared with a few others, and with more only where these do not bring it into their group
(`pairs_to_connect`). And a member may go only where it was compared with the kept image, which is
not known before (`pairs_to_compare`). So the pairs of a family grow with its size, not with its
square: 2.7 an image at first in a family of a thousand, and one with each image that is kept.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import tables
from copydetect.errors import InputError, OptionError
from copydetect.grouping.agglomeration import agglomerate
from copydetect.grouping.belonging import going_together
from copydetect.grouping.holding import Path, Sizes, hold_together
from copydetect.grouping.keepers import KeepOptions, Preference
from copydetect.grouping.originality import Originality
from copydetect.grouping.pairs import Integers, VerifiedPairs, numbers_of
from copydetect.grouping.removals import NOT_ASKED_FOR, NOT_COMPARED, Removals
from copydetect.types import Candidate, GroupMember, ImageRef, Relation

_REF = ["image_id", "uri", "member", "role"]


COMPARISONS = 4
"""How often kept images are compared with their members at most: once they are, a more preferred
image may turn out to hold the whole group, and then is the one to compare."""


@dataclass(frozen=True)
class GroupOptions:
    """How copies are grouped.

    keep: which image stays, and what may go (see `keepers`). min_path_confidence: a member that was
    not matched with the kept image itself belongs to it with at least this probability, through
    others. neighbors: candidates that an image has at least.
    """

    keep: KeepOptions = field(default_factory=KeepOptions)
    min_path_confidence: float = 0.8
    neighbors: int = 10

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_path_confidence <= 1.0:
            raise OptionError(f"min_path_confidence is {self.min_path_confidence}, not in 0…1")
        if self.neighbors < 1:
            raise OptionError(f"neighbors must be at least 1, not {self.neighbors}")

    def __str__(self) -> str:
        return f"{self.keep} min_path_confidence={self.min_path_confidence:g}"


def group_copies(
    images: pa.Table,
    matches: pa.Table,
    options: GroupOptions | None = None,
    histories: pa.Table | None = None,
    unreadable: Collection[str] = (),
    spare: pa.Table | None = None,
    compared: pa.Table | None = None,
) -> list[GroupMember]:
    """Groups of at least two images, by group_id; in a group the kept image, then by image_id.

    images: the `images` table; byte-identical files (`duplicate_of`) belong to the group of the
    image that they repeat. matches: the `matches` table; histories: the `histories` table, which
    may lack images. No table's row order matters. unreadable: image_ids of files that could not be
    read, which are in no group. spare: the `candidates` that were first left out, for there are
    many of their images. compared: `matches` rows of `pairs_to_compare`; they tell who belongs and
    who may go, and not which image is kept, so that it is the one that was compared.
    InputError where an image_id is not unique or a match or duplicate names no image.
    """
    grouping = _Grouping.of(images, matches, histories, unreadable, spare, options, compared)
    members = [member for group in grouping.groups() for member in group]
    members = going_together(members, images)
    return sorted(members, key=lambda member: (member.group_id, not member.keep, member.image_id))


def pairs_to_connect(
    images: pa.Table,
    matches: pa.Table,
    spare: pa.Table,
    options: GroupOptions | None = None,
    unreadable: Collection[str] = (),
) -> list[Candidate]:
    """The spare candidates that may bring images together which are in no group, or in two.

    Arguments as of `group_copies`, for which these pairs should be verified first: the best
    `neighbors` between any two groups, where an image in none is a group of its own.
    """
    grouping = _Grouping.of(images, matches, None, unreadable, spare, options)
    return list(grouping.unconnected(images, spare))


def pairs_to_compare(
    images: pa.Table,
    matches: pa.Table,
    options: GroupOptions | None = None,
    histories: pa.Table | None = None,
    unreadable: Collection[str] = (),
    spare: pa.Table | None = None,
    compared: pa.Table | None = None,
) -> list[Candidate]:
    """Pairs of a kept image and a member that could go, had the two been compared; by their ids.

    Arguments as of `group_copies`, for which these pairs should be verified first. Their score is
    what other pairs say: that both belong to one group.
    """
    grouping = _Grouping.of(images, matches, histories, unreadable, spare, options, compared)
    return sorted(grouping.uncompared(), key=lambda pair: (pair.query_id, pair.reference_id))


def images_to_look_at(images: pa.Table, matches: pa.Table) -> list[ImageRef]:
    """The images, by image_id, whose `histories` tell which one is kept: all copies."""
    copies = matches.filter(matches["is_copy"])
    repeated = pc.drop_null(images["duplicate_of"])
    named = [*copies["query_id"].chunks, *copies["reference_id"].chunks, *repeated.chunks]
    wanted = pc.unique(pa.chunked_array(named, pa.string()))
    rows = images.filter(pc.is_in(images["image_id"], wanted)).sort_by("image_id")
    return [ImageRef(**row) for row in rows.select(_REF).to_pylist()]


@dataclass(frozen=True)
class _Grouping:
    """The files and pairs of a collection, and how they are grouped.

    originals: (files,) row of the file whose bytes each has; files_of: the files of each content
    that is in a pair or repeated, the most preferred first; sampled: contents of which spare
    candidates were left out.
    """

    pairs: VerifiedPairs
    originals: Integers
    preference: Preference
    removals: Removals
    files_of: dict[int, list[int]]
    sampled: frozenset[int]
    options: GroupOptions

    @classmethod
    def of(
        cls,
        images: pa.Table,
        matches: pa.Table,
        histories: pa.Table | None,
        unreadable: Collection[str],
        spare: pa.Table | None,
        options: GroupOptions | None,
        compared: pa.Table | None = None,
    ) -> _Grouping:
        options = options or GroupOptions()
        images = images.sort_by("image_id")
        readable = _readable(images, unreadable)
        originals = numbers_of(images, pc.coalesce(images["duplicate_of"], images["image_id"]))
        files = np.bincount(originals[readable], minlength=len(originals))
        pairs = first = VerifiedPairs.of(images, originals, matches).among(files > 0)
        if compared is not None and len(compared):
            matches = pa.concat_tables([matches, compared])
            pairs = VerifiedPairs.of(images, originals, matches).among(files > 0)
        histories = tables.HISTORIES.empty_table() if histories is None else histories
        originality = Originality.of(images, originals, histories, first)
        preference = Preference.of(images, options.keep, originality)
        sizes = Sizes(preference.widths, preference.heights)
        transparent = np.asarray(pc.fill_null(images["transparent"], False).to_numpy(), np.bool_)
        removals = Removals(pairs, sizes, preference, transparent)
        wanted = np.concatenate([np.flatnonzero(files > 1), pairs.first, pairs.second])
        chosen = np.flatnonzero(readable & np.isin(originals, wanted)).tolist()
        files_of: dict[int, list[int]] = {}
        for file in preference.sorted(chosen):
            files_of.setdefault(int(originals[file]), []).append(file)
        sampled = frozenset[int]()
        if spare is not None:
            sampled = frozenset(_contents(images, originals, spare).ravel().tolist())
        return cls(pairs, originals, preference, removals, files_of, sampled, options)

    def groups(self) -> Iterator[list[GroupMember]]:
        """The rows of every group."""
        grouped: set[int] = set()
        for kept, paths in self._held_together():
            grouped.update(paths)
            yield self._members(kept, paths)
        for content, files in sorted(self.files_of.items()):
            if len(files) > 1 and content not in grouped:
                yield self._members(content, {content: Path()})

    def unconnected(self, images: pa.Table, spare: pa.Table) -> Iterator[Candidate]:
        """The pairs of `pairs_to_connect`."""
        group_of = np.arange(len(self.originals))
        for kept, paths in self._held_together():
            group_of[list(paths)] = kept
        spare = spare.sort_by([("query_id", "ascending"), ("reference_id", "ascending")])
        contents = _contents(images.sort_by("image_id"), self.originals, spare)
        first, second = np.sort(group_of[contents], axis=0)
        apart = np.flatnonzero(first != second)
        first, second = first[apart], second[apart]
        order = np.lexsort((spare["rank"].to_numpy()[apart], second, first))
        new = np.ones(len(order), np.bool_)
        new[1:] = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
        starts = np.flatnonzero(new)
        ranks = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
        chosen = apart[order[ranks < self.options.neighbors]]
        for row in spare.take(chosen).to_pylist():
            yield Candidate.of_row({**row, "spare": False})

    def uncompared(self) -> Iterator[Candidate]:
        """The pairs of `pairs_to_compare`."""
        ids = self.preference.image_ids
        silent = (math.nan,) * 4
        for kept, paths in self._held_together():
            for content, path in paths.items():
                if self.removals.objection(path, content, kept) == NOT_COMPARED:
                    odds = path.confidence / max(1 - path.confidence, _LEAST_DOUBT)
                    yield Candidate(ids[kept], ids[content], *silent, math.log(odds), "", "", 0)

    def _held_together(self) -> Iterator[tuple[int, dict[int, Path]]]:
        """The kept content of every group of several, and the paths of all contents to it."""
        for verdicts in self.pairs.components(len(self.originals)):
            for part in agglomerate(verdicts, self.options.neighbors, self.sampled):
                yield from hold_together(
                    part,
                    verdicts,
                    self.pairs,
                    self.removals.sizes,
                    self._sorted,
                    self.options.min_path_confidence,
                )

    def _sorted(self, contents: Sequence[int]) -> list[int]:
        """Contents, the one of the most preferred file first."""
        ranks = self.preference.ranks
        return sorted(contents, key=lambda content: int(ranks[self.files_of[content][0]]))

    def _members(self, kept: int, paths: dict[int, Path]) -> list[GroupMember]:
        """The rows of one group: every file of every content in it."""
        ids = self.preference.image_ids
        kept_file = self.files_of[kept][0]
        contents = [self.files_of[content][0] for content in paths]
        names = (ids[file] for content in paths for file in self.files_of[content])
        group_id = hashlib.sha256(min(names).encode()).hexdigest()[:16]
        certain = self.preference.is_certain(kept_file, contents)
        why = self.preference.why(kept_file, contents)
        return [
            GroupMember(
                group_id=group_id,
                image_id=ids[file],
                keep=file == kept_file,
                suggested=stays is not None,
                relation=self.removals.relation(path),
                kept_id=ids[kept_file if stays is None else stays],
                certain=certain,
                reason=why if file == kept_file else reason,
                similarity_to_kept=path.similarity,
            )
            for content, path in paths.items()
            for file, stays, reason in self._files(content, path, kept)
        ]

    def _files(self, content: int, path: Path, kept: int) -> Iterator[tuple[int, int | None, str]]:
        """Each file of a content: the file, the one in favour of which it may be removed, if any,
        and why."""
        ids, protected = self.preference.image_ids, self.preference.protected
        files, kept_file = self.files_of[content], self.files_of[kept][0]
        objection = "" if content == kept else self.removals.objection(path, content, kept)
        # Of a content that has to stay, one file is enough.
        stays = kept_file
        if objection:
            stays = next((file for file in files if protected[file]), files[0])
        said = self._why_copy(path, content == kept)
        shown = f"; stays: {objection}" if objection not in ("", NOT_ASKED_FOR) else ""
        for file in files:
            reason = said
            if file != files[0] and content != kept:
                reason = f"same bytes as {ids[files[0]]}, {said}"
            if file == stays or self.options.keep.suggest == "nothing":
                yield file, None, reason + shown
            elif protected[file]:
                yield file, None, f"{reason}; protected"
            else:
                yield file, stays, reason

    def _why_copy(self, path: Path, same_bytes: bool) -> str:
        if same_bytes:
            return "same bytes as the kept image"
        said = _SAID[self.removals.relation(path)]
        sure = f"(confidence {path.confidence:.2f})"
        if path.through is None:
            edits = ", ".join(self.pairs.edits[path.steps[-1]])
            return f"{said} the kept image{f': {edits}' if edits else ''} {sure}"
        return f"{said} the kept image, through {self.preference.image_ids[path.through]} {sure}"


def _contents(images: pa.Table, originals: Integers, pairs: pa.Table) -> Integers:
    """(2, n) the contents of pairs; images, originals: as of `_Grouping`."""
    ends = [numbers_of(images, pairs[name]) for name in ("query_id", "reference_id")]
    return originals[np.stack(ends)]


def _readable(images: pa.Table, unreadable: Collection[str]) -> npt.NDArray[np.bool_]:
    """(n,) bool; InputError where an image_id is not unique."""
    if pc.count_distinct(images["image_id"]).as_py() != len(images):
        raise InputError("the images table has an image_id twice; image_ids are unique in a pile")
    failed = pc.is_in(images["image_id"], pa.array(list(unreadable), pa.string()))
    return np.asarray(~pc.or_(failed, pc.equal(images["status"], "failed")).to_numpy())


_LEAST_DOUBT = 0.02
_SAID: dict[Relation, str] = {
    "identical": "the same pixels as",
    "same_picture": "the same picture as",
    "edited": "an edited copy of",
    "changed_content": "with other content than",
}
