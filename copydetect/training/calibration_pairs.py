"""A search over originals and their made copies → labelled pairs.

It is known which image each made copy comes from. Nothing is known of two originals: a collection
may hold copies of its own. Where the decision is nearly certain of such a pair, it and the pairs of
its made copies are left out; below that they count as strangers, so that a real copy among them
makes the threshold too careful rather than too bold.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from copydetect.edits import mix_named
from copydetect.errors import OptionError
from copydetect.evaluation.planted import NEARLY_CERTAIN
from copydetect.inputs.listing import ListedImage
from copydetect.training.calibration_fit import LabelledPairs

_PASTED, _IMAGES_FOR_PASTED = 72, 20
_COUNTED = 1 / 3
"""Share of the pairs of two copies of different images that count. A study's copies share few
pasted pictures, so that it has more of these pairs than a pile has."""

_Row = tuple[float, float, float, bool, str, bool, bool, tuple[str, ...]]
"""The fields of `LabelledPairs` for one pair, with the id of its original."""


@dataclass(frozen=True)
class StudyOptions:
    """The study that a calibration is made on.

    sample: images that copies are made of; collection: images that are searched, the sample among
    them; mixes: of `edits.MIXES`; copies: made of an image by each of its mixes. One image is
    edited by one of the mixes, the next by two, and so on in turn, because a pile has few copies of
    one image and many of another; distinct: whether the collection is known to hold no copies.
    """

    sample: int = 300
    collection: int = 3000
    copies: int = 1
    mixes: tuple[str, ...] = ("mild", "default", "severe")
    seed: int = 0
    distinct: bool = False

    def __post_init__(self) -> None:
        for mix in self.mixes or ("",):
            mix_named(mix)
        if len(set(self.mixes)) < len(self.mixes):
            raise OptionError(f"--mix {','.join(self.mixes)} names one twice")
        for name in ("sample", "collection", "copies"):
            if getattr(self, name) < 1:
                raise OptionError(f"--{name} is {getattr(self, name)}; it must be at least 1")
        if self.sample > self.collection:
            raise OptionError(f"--sample {self.sample} is more than --collection {self.collection}")


@dataclass(frozen=True)
class MadeCopy:
    """A copy that was made: its image_id, that of its original, and the kinds of edits."""

    copy_id: str
    original_id: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class StudyImages:
    """The images of a study: the collection, its sample first, and pictures that edits paste.

    Only few images are pasted, so that copies of different images share them, as in a real pile:
    one screen behind many pictures, one logo on all of them. None of them is in the collection.
    """

    collection: list[ListedImage]
    sample: int
    pasted: list[ListedImage]

    def edited_by(self, mix: int, mixes: int) -> list[ListedImage]:
        """The images of the sample that the mix of this number edits."""
        return [
            image
            for row, image in enumerate(self.collection[: self.sample])
            if (mix - row) % mixes <= row // mixes % mixes
        ]


def choose_images(listed: Iterable[ListedImage], options: StudyOptions) -> StudyImages:
    """The images of a study, chosen by hash, so that the order of the input does not matter.

    Of byte-identical files one is taken, and none that could not be read.
    """
    distinct: dict[str, ListedImage] = {}
    for image in sorted(listed, key=lambda image: image.image_id):
        if not image.error_type:
            distinct.setdefault(image.sha256, image)
    salted = {
        sha256: hashlib.sha256(f"{options.seed}\0{sha256}".encode()).digest() for sha256 in distinct
    }
    order = sorted(distinct, key=lambda sha256: salted[sha256])
    images = [distinct[sha256] for sha256 in order]
    pasted = min(_PASTED, len(images) // _IMAGES_FOR_PASTED)
    collection = images[: len(images) - pasted][: options.collection]
    return StudyImages(collection, options.sample, images[len(images) - pasted :])


def label_pairs(
    matches: pa.Table, made: Iterable[MadeCopy], distinct: bool = False
) -> tuple[LabelledPairs, dict[str, int]]:
    """Label the pairs of a `matches` table whose confidence is the decision's own.

    Two copies of one image that the search has found are copies as well, as they are in a pile.
    Returns the pairs, and how many were left out, by reason. Made copies that are in no pair with
    their original follow as not found.
    """
    by_copy = {copy.copy_id: copy for copy in made}
    names = ("query_id", "reference_id", "confidence", "other_content", "score")
    rows = list(zip(*(matches[name].to_pylist() for name in names), strict=True))
    doubtful = set() if distinct else _doubtful(rows, by_copy)
    left_out: Counter[str] = Counter()
    kept: list[_Row] = []
    found: set[str] = set()
    for a, b, confidence, other_content, score in rows:
        first, second = (_original(image_id, by_copy) for image_id in (a, b))
        copies = [by_copy[image_id] for image_id in (a, b) if image_id in by_copy]
        if frozenset((first, second)) in doubtful:
            left_out["originals that may be copies"] += 1
        elif first != second and len(copies) == 2 and not _counts(a, b):
            left_out["copies of two images, which often share a pasted one"] += 1
        else:
            is_copy, across = first == second, len(copies) == 1
            made_of_it = copies if is_copy and across else []
            kinds = made_of_it[0].kinds if made_of_it else ()
            shown = (confidence, other_content or 0.0, score)
            kept.append((*shown, is_copy, min(first, second), True, across, kinds))
            found.update(copy.copy_id for copy in made_of_it)
    missed = [by_copy[copy_id] for copy_id in sorted(set(by_copy) - found)]
    kept += [(0.0, 0.0, 0.0, True, copy.original_id, False, True, copy.kinds) for copy in missed]
    return _columns(kept), dict(left_out)


def _counts(first: str, second: str) -> bool:
    """Whether a pair is in the share that counts, decided by a hash of its names."""
    digest = hashlib.sha256((first + second).encode()).digest()
    return int.from_bytes(digest[:4], "big") < _COUNTED * 2**32


def _doubtful(
    rows: list[tuple[str, str, float, float | None, float]], by_copy: Mapping[str, MadeCopy]
) -> set[frozenset[str]]:
    """Pairs of originals that the decision is nearly certain of."""
    return {
        frozenset((a, b))
        for a, b, confidence, *_ in rows
        if confidence >= NEARLY_CERTAIN and a not in by_copy and b not in by_copy
    }


def _original(image_id: str, by_copy: Mapping[str, MadeCopy]) -> str:
    return by_copy[image_id].original_id if image_id in by_copy else image_id


def _columns(rows: list[_Row]) -> LabelledPairs:
    confidences, other_content, scores, labels, origins, found, across, kinds = (
        zip(*rows, strict=True) if rows else ((),) * 8
    )
    return LabelledPairs(
        np.array(confidences, np.float64),
        np.array(other_content, np.float64),
        np.array(scores, np.float64),
        np.array(labels, bool),
        np.unique(np.array(origins, str), return_inverse=True)[1].astype(np.int64),
        np.array(found, bool),
        np.array(across, bool),
        kinds,
    )
