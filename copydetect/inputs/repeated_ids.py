"""image_ids that repeat across shards or inputs → ids of their own.

Every WebDataset shard may start again with "000000.jpg", and two folders may both hold "cat.jpg".
Such images get the name of their shard or folder in front: "shard-003/000000.jpg". Ids that do not
repeat stay as they are.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count

from copydetect.errors import InputError

_CONTAINERS = (".tar", ".parquet", ".csv")


@dataclass(frozen=True)
class FoundImage:
    """What identifies an image before it has an id of its own.

    origin: its container or the root of its input; place: where it is in there, or its URI.
    """

    image_id: str
    origin: str
    place: str


def distinct_ids(images: Sequence[FoundImage]) -> list[str]:
    """One id an image, in their order; no two are equal.

    As many folders are put in front as it takes to tell all shards and inputs apart that share an
    id. Members of one tar that have one name, and ids that are still equal, get a number behind.
    InputError where a manifest or a Parquet file gives one image_id twice.
    """
    counts = Counter(image.image_id for image in images)
    repeated = [number for number, image in enumerate(images) if counts[image.image_id] > 1]
    labels = _labels({images[number].origin for number in repeated})
    ids = [image.image_id for image in images]
    taken = {image_id for image_id, count in counts.items() if count == 1}
    given: set[tuple[str, str]] = set()
    for number in sorted(repeated, key=lambda number: _natural(images[number])):
        image = images[number]
        key = (image.origin, image.image_id)
        if key in given and not image.origin.lower().endswith(".tar"):
            raise InputError(f"{image.origin} has the image_id {image.image_id!r} twice")
        given.add(key)
        ids[number] = _free(f"{labels[image.origin]}/{image.image_id}", taken)
        taken.add(ids[number])
    return ids


def _labels(origins: set[str]) -> dict[str, str]:
    """The last folders of each origin, as few as tell all of them apart."""
    folders = {origin: _folders(origin) for origin in origins}
    labels: dict[str, str] = {}
    for depth in range(1, max(map(len, folders.values()), default=1) + 1):
        labels = {origin: "/".join(path[-depth:]) for origin, path in folders.items()}
        if len(set(labels.values())) == len(origins):
            break
    return labels


def _folders(origin: str) -> list[str]:
    """The path of a folder, or of a container without its extension, as names."""
    stem, extension = posixpath.splitext(origin.rstrip("/"))
    path = stem if extension.lower() in _CONTAINERS else origin.rstrip("/")
    return [part for part in path.split("/") if part and not part.endswith(":")]


def _free(name: str, taken: set[str]) -> str:
    """The name, or with the first number behind it that nobody has."""
    numbered = (f"{name}#{number}" for number in count(2))
    return next(one for one in chain([name], numbered) if one not in taken)


def _natural(image: FoundImage) -> tuple[str, int, str]:
    """Order of images: members of a tar by their offset."""
    offset = image.place.split(":")[0]
    return image.origin, int(offset) if offset.isdecimal() else 0, image.place
