"""image_ids that repeat across shards or inputs → ids of their own.

Every WebDataset shard may start again with "000000.jpg", and two folders may both hold "cat.jpg".
Such images get the name of their shard or folder in front: "shard-003/000000.jpg". Ids that do not
repeat stay as they are.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from copydetect import tables
from copydetect.errors import InputError
from copydetect.inputs.listing import LISTING
from copydetect.sorted_rows import is_among
from copydetect.storage.files import Storage
from copydetect.types import Bools

Hashes = npt.NDArray[np.uint64]

_CONTAINERS = (".tar", ".parquet", ".csv")


@dataclass(frozen=True)
class FoundImage:
    """What identifies an image before it has an id of its own.

    origin: its container or the root of its input; place: where it is in there, or its URI.
    """

    image_id: str
    origin: str
    place: str


class KnownIds:
    """Which image_ids there are once, and which several times, in 8 bytes an image.

    Ids are known by 64 bits of a hash. Of a billion ids, two share one in 3 of 100 piles; all that
    comes of it is that an id is looked at twice, or gets a number behind it that it did not need.
    """

    def __init__(self, hashes: Hashes) -> None:
        """hashes: of all ids, as `hashes_of` gives them."""
        found, counts = np.unique(hashes, return_counts=True)
        self._single, self._repeated = found[counts == 1], found[counts > 1]

    def __contains__(self, image_id: object) -> bool:
        """Whether exactly one image has this id."""
        return bool(is_among(hashes_of([str(image_id)]), self._single)[0])

    def repeats(self, ids: Sequence[str]) -> Bools:
        """(n,) bool: which of some ids there are several times."""
        return self.repeated(hashes_of(ids))

    def repeated(self, hashes: Hashes) -> Bools:
        """The same by the hashes of ids."""
        return is_among(hashes, self._repeated)


@dataclass(frozen=True)
class Renamed:
    """What came of ids that repeat. images: how many got another one; example: the first of these,
    "" where there is none; files: the numbers of the listing files that were written again."""

    images: int = 0
    example: str = ""
    files: tuple[int, ...] = ()


def make_ids_unique(
    storage: Storage,
    listings: Sequence[str],
    hashes: Sequence[Hashes],
    written: Sequence[str],
) -> Renamed:
    """Give repeated image_ids names of their own, in files of `ListedImage` rows.

    hashes: of the ids in each file; written: where each file goes that changes. Memory holds only
    the images whose ids repeat.
    """
    known = KnownIds(np.concatenate([hashes_of(()), *hashes]))
    again = [number for number, one in enumerate(hashes) if known.repeated(one).any()]
    columns = ["image_id", "origin", "member", "uri"]
    found = [
        FoundImage(row["image_id"], row["origin"], row["member"] or row["uri"])
        for number in again
        for table in tables.read_batches(storage, listings[number], columns)
        for row in table.filter(known.repeats(table["image_id"].to_pylist())).to_pylist()
    ]
    new_ids = distinct_ids(found, known)
    renamed = [new for new, one in zip(new_ids, found, strict=True) if new != one.image_id]
    remaining = iter(new_ids)
    for number in again:
        # The file is read while its successor is made, which is written at the end.
        read = tables.read_batches(storage, listings[number])
        batches = (_renamed(table, known, remaining) for table in read)
        tables.write_batches(storage, written[number], batches, LISTING)
    return Renamed(len(renamed), renamed[0] if renamed else "", tuple(again))


def _renamed(table: pa.Table, known: KnownIds, new_ids: Iterator[str]) -> pa.Table:
    """The rows, those whose ids repeat with the next of the new ones."""
    ids = table["image_id"].to_pylist()
    repeats = known.repeats(ids).tolist()
    own = [next(new_ids) if again else old for old, again in zip(ids, repeats, strict=True)]
    return tables.with_columns(table, {"image_id": own})


def hashes_of(ids: Sequence[str]) -> Hashes:
    """(n,) what ids are known by."""
    return np.fromiter(map(_hash, ids), np.uint64, len(ids))


def _hash(image_id: str) -> int:
    digest = hashlib.blake2b(image_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def distinct_ids(images: Sequence[FoundImage], known: Container[str] = ()) -> list[str]:
    """One id an image, in their order; no two are equal, and no new one is among `known`.

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
        ids[number] = _free(f"{labels[image.origin]}/{image.image_id}", taken, known)
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


def _free(name: str, taken: set[str], known: Container[str]) -> str:
    """The name, or with the first number behind it that nobody has."""
    numbered = (f"{name}#{number}" for number in count(2))
    return next(one for one in chain([name], numbered) if one not in taken and one not in known)


def _natural(image: FoundImage) -> tuple[str, int, str]:
    """Order of images: members of a tar by their offset."""
    offset = image.place.split(":")[0]
    return image.origin, int(offset) if offset.isdecimal() else 0, image.place
