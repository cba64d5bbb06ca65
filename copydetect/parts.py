"""The parts of a collection: listed, numbered, and described one after the other.

A part is a range of the SHA-256 of the images' bytes. Inside a part, rows are sorted by
(sha256, image_id). So byte-identical files always meet in one part, where they are folded
together, and `image_no`, the row in all parts put one behind the other, depends on the content
alone: not on the number of parts, workers or the order of the input.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from copydetect import tables
from copydetect.inputs.sources import read_refs
from copydetect.storage.files import Storage
from copydetect.types import Failure, ImageRef, ImageRow, Role

Content = bytes | Failure
"""What reading a file gave."""

CHANGED = "the file changed while the run went on"

_SMALLEST_PART, _LARGEST_PART, _PARTS_WANTED = 16, 4096, 256
_PARTS_HELD = 256


@dataclass(frozen=True)
class ListedImage:
    """An image of the input whose bytes have been read once: sha256 in hex, size in bytes.

    Where reading failed, `error_type`, `message` and `retryable` say why and whether another try
    may help, sha256 is that of the image_id and `bytes` is 0. origin: the container or folder of
    the input that it was found in.
    """

    image_id: str
    role: Role
    uri: str
    member: str
    sha256: str
    bytes: int
    error_type: str = ""
    message: str = ""
    origin: str = ""
    retryable: bool = False

    @property
    def ref(self) -> ImageRef:
        """Where the bytes are."""
        return ImageRef(self.image_id, self.uri, self.member, self.role)

    def checked(self, content: Content) -> Content:
        """What has been read of it, if it is what was there when it was listed."""
        if isinstance(content, Failure) or hashlib.sha256(content).hexdigest() == self.sha256:
            return content
        return self.failure("read", "ImageError", CHANGED, retryable=True)

    def failure(
        self, stage: str, error_type: str, message: str, retryable: bool = False
    ) -> Failure:
        """A failure of this file."""
        place = (self.image_id, self.uri)
        return Failure(*place, stage, error_type, message, self.role, retryable)


_NO_TEXT = {"bytes": pa.int64(), "retryable": pa.bool_()}
LISTING = pa.schema(
    [
        pa.field(name, _NO_TEXT.get(name, pa.string()), nullable=False)
        for name in ListedImage.__dataclass_fields__
    ]
)
"""Schema of the listing: the fields of `ListedImage`."""


def list_images(
    contents: Iterable[tuple[ImageRef, Content]], origin: str = ""
) -> Iterator[ListedImage]:
    """Hash the bytes of each image; one that could not be read keeps its reason."""
    for ref, content in contents:
        place = (ref.image_id, ref.role, ref.uri, ref.member)
        if isinstance(content, Failure):
            stand_in = hashlib.sha256(ref.image_id.encode("utf-8", "surrogatepass")).hexdigest()
            why = (content.error_type, content.message, origin, content.retryable)
            yield ListedImage(*place, stand_in, 0, *why)
        else:
            digest = hashlib.sha256(content).hexdigest()
            yield ListedImage(*place, digest, len(content), origin=origin)


def content_digest(listing: pa.Table) -> str:
    """A digest of which images are there and what they hold, whatever their order."""
    # A sum knows no order, so that no more than a batch of rows is held.
    total = 0
    for batch in listing.select(["role", "image_id", "sha256", "error_type"]).to_batches(8192):
        for key in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            digest = hashlib.sha256(repr(key).encode("utf-8", "surrogatepass")).digest()
            total += int.from_bytes(digest, "big")
    return hashlib.sha256(f"{listing.num_rows} {total}".encode()).hexdigest()


def part_count(images: int) -> int:
    """How many parts: enough to spread the work and to show progress, of 16 to 4,096 images."""
    size = min(max(images // _PARTS_WANTED, _SMALLEST_PART), _LARGEST_PART)
    return max(1, math.ceil(images / size))


def part_of(sha256: str, parts: int) -> int:
    """The part, 0 … parts − 1, whose range of hashes holds `sha256` (hex)."""
    return int(sha256[:16], 16) * parts >> 64


def byte_identical(listed: Iterable[ListedImage]) -> list[list[ListedImage]]:
    """One part's images in their order, those of equal content together.

    What could not be read when it was listed is alone: nothing is known of its content.
    """
    twins: dict[tuple[str, str], list[ListedImage]] = {}
    for image in sorted(listed, key=lambda image: (image.sha256, image.image_id)):
        alone = image.image_id if image.error_type else ""
        twins.setdefault((image.sha256, alone), []).append(image)
    return list(twins.values())


def read_in_turn(
    storage: Storage, families: Iterable[Sequence[ListedImage]]
) -> Iterator[tuple[Sequence[ListedImage], Content]]:
    """The bytes of one file of each family of byte-identical ones: the first that can be read.

    With the bytes come that file and its twins after it; with a Failure the file that it is of,
    first, and those that are tried in its place. A file that holds something else by now is not
    readable.
    """
    waiting = list(families)
    while waiting:
        firsts = {twins[0].ref: twins for twins in waiting}
        waiting = []
        for ref, content in read_refs(storage, firsts):
            twins = firsts[ref]
            content = twins[0].checked(content)
            if isinstance(content, Failure) and len(twins) > 1:
                waiting.append(twins[1:])
            yield twins, content


class RowCounts(Sequence[int]):
    """How many rows each part of a table has, read from its files when it is first asked for.

    So a pipeline can be built before the parts are there.
    """

    def __init__(self, storage: Storage, uris: Sequence[str]) -> None:
        self._storage = storage
        self._uris = tuple(uris)

    def __getitem__(self, part: Any) -> Any:
        storage: Any = self._storage  # any storage can be hashed, by what it is
        return _row_counts(storage, self._uris)[part]

    def __len__(self) -> int:
        return len(self._uris)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowCounts) and other._uris == self._uris

    def __hash__(self) -> int:
        return hash(self._uris)


class PartStarts(Sequence[int]):
    """The number of the first row of each part, of rows that are numbered through all parts."""

    def __init__(self, counts: RowCounts) -> None:
        self._counts = counts

    def __getitem__(self, part: Any) -> Any:
        return tuple(accumulate(self._counts, initial=0))[:-1][part]

    def __len__(self) -> int:
        return len(self._counts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PartStarts) and other._counts == self._counts

    def __hash__(self) -> int:
        return hash(self._counts)


@lru_cache(maxsize=16)
def _row_counts(storage: Any, uris: tuple[str, ...]) -> tuple[int, ...]:
    counts = []
    for uri in uris:
        with storage.open(uri) as file:
            counts.append(int(parquet.read_metadata(file).num_rows))
    return tuple(counts)


class ImageNumbers:
    """image_no → row of the `images` tables of one role; parts are read when they are wanted.

    Those wanted last are held, as tables, so that memory has a bound: about 1 MB a part.
    """

    def __init__(self, storage: Storage, uris: Sequence[str], counts: Sequence[int]) -> None:
        """`uris`: the parts of `images` in order; `counts`: their rows."""
        self._storage = storage
        self._uris = list(uris)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._held: dict[int, pa.Table] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def start_of(self, part: int) -> int:
        """The image_no of the first row of a part."""
        return int(self._starts[part])

    def row(self, number: int) -> ImageRow:
        """The row of `images` with this number."""
        if not 0 <= number < len(self):
            raise IndexError(f"image_no {number} is not in 0 … {len(self) - 1}")
        part = int(np.searchsorted(self._starts, number, side="right")) - 1
        (row,) = self._table(part).slice(number - self.start_of(part), 1).to_pylist()
        return ImageRow(**row)

    def twins(self, number: int) -> list[ImageRow]:
        """The row with this number, and those of files that it stands for, byte for byte."""
        rows = [self.row(number)]
        while number + len(rows) < len(self):
            twin = self.row(number + len(rows))
            if twin.duplicate_of != rows[0].image_id or twin.sha256 != rows[0].sha256:
                break
            rows.append(twin)
        return rows

    def _table(self, part: int) -> pa.Table:
        table = self._held.pop(part, None)
        if table is None:
            table = tables.read_table(self._storage, self._uris[part])
        self._held[part] = table  # behind those that were wanted before
        if len(self._held) > _PARTS_HELD:
            del self._held[next(iter(self._held))]
        return table
