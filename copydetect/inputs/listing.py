"""The images of an input, listed: where each is, and the SHA-256 of what it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from copydetect.inputs.sources import read_refs
from copydetect.storage.files import Storage
from copydetect.types import Failure, ImageRef, Role

Content = bytes | Failure
"""What reading a file gave."""

CHANGED = "the file changed while the run went on"


@dataclass(frozen=True)
class ListedImage:
    """An image of the input whose bytes have been read once: sha256 in hex, size in bytes.

    Where reading failed, `error_type`, `message` and `retryable` say why and whether another try
    may help, sha256 is that of the image_id and `bytes` is 0. origin: the container or folder of
    the input that it was found in; companions: where the files are that belong to it.
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
    companions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """A row of a table has a list of companions, or null; an image always has a tuple."""
        object.__setattr__(self, "companions", tuple(self.companions or ()))

    @property
    def ref(self) -> ImageRef:
        """Where the bytes are."""
        return ImageRef(self.image_id, self.uri, self.member, self.role)

    def checked(self, content: Content) -> Content:
        """Its content, or a failure where that has changed since it was listed."""
        if isinstance(content, Failure) or hashlib.sha256(content).hexdigest() == self.sha256:
            return content
        return self.failure("read", "ImageError", CHANGED, retryable=True)

    def failure(
        self, stage: str, error_type: str, message: str, retryable: bool = False
    ) -> Failure:
        """A failure of this file."""
        place = (self.image_id, self.uri)
        return Failure(*place, stage, error_type, message, self.role, retryable)


_NO_TEXT = {
    "bytes": pa.int64(),
    "retryable": pa.bool_(),
    "companions": pa.list_(pa.string()),
}
LISTING = pa.schema(
    [
        pa.field(name, _NO_TEXT.get(name, pa.string()), nullable=False)
        for name in ListedImage.__dataclass_fields__
    ]
)
"""Schema of the listing: the fields of `ListedImage`."""


def list_images(
    contents: Iterable[tuple[ImageRef, Content]],
    origin: str = "",
    companions: Mapping[str, tuple[str, ...]] | None = None,
) -> Iterator[ListedImage]:
    """Hash the bytes of each image; one that could not be read keeps its reason.

    companions: of the files that have some, by URI.
    """
    for ref, content in contents:
        place = (ref.image_id, ref.role, ref.uri, ref.member)
        beside = (companions or {}).get(ref.uri, ())
        if isinstance(content, Failure):
            stand_in = hashlib.sha256(ref.image_id.encode("utf-8", "surrogatepass")).hexdigest()
            why = (content.error_type, content.message, origin, content.retryable)
            yield ListedImage(*place, stand_in, 0, *why, beside)
        else:
            digest = hashlib.sha256(content).hexdigest()
            yield ListedImage(*place, digest, len(content), origin=origin, companions=beside)


DIGESTED = ["role", "image_id", "sha256", "error_type"]
"""The columns of a listing that tell which images are there and what they hold."""


@dataclass(frozen=True)
class RowSum:
    """Of some rows of a listing: how many, and the sum of their hashes, which knows no order. Those
    of pieces add up to that of all."""

    rows: int = 0
    total: int = 0

    @classmethod
    def of(cls, image: ListedImage) -> RowSum:
        """That of one row."""
        return cls(1, _hash(image.role, image.image_id, image.sha256, image.error_type))

    @classmethod
    def of_tables(cls, listing: Iterable[pa.Table]) -> RowSum:
        """The sum over rows of tables, of which the columns `DIGESTED` count."""
        rows = total = 0
        for table in listing:
            rows += table.num_rows
            columns = (table[name].to_pylist() for name in DIGESTED)
            total += sum(_hash(*key) for key in zip(*columns, strict=True))
        return cls(rows, total)

    def __add__(self, other: RowSum) -> RowSum:
        return RowSum(self.rows + other.rows, self.total + other.total)

    @property
    def digest(self) -> str:
        """Of which images there are and what they hold."""
        return hashlib.sha256(f"{self.rows} {self.total}".encode()).hexdigest()


def _hash(*key: str) -> int:
    digest = hashlib.sha256(repr(key).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest, "big")


def content_digest(listing: Iterable[pa.Table]) -> str:
    """A digest of the rows of some tables, of which the columns `DIGESTED` count, in any order."""
    return RowSum.of_tables(listing).digest


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
