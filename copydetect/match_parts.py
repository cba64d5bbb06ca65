"""One part of candidates → its matches and failures; images are opened once for many pairs."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from copydetect import tables
from copydetect.candidate_parts import PairNumbers, read_pairs
from copydetect.errors import ImageError
from copydetect.images import DecodeOptions, decode
from copydetect.inputs import read_refs
from copydetect.matches import MatchOptions, prepare_image, verify_pair
from copydetect.pair_images import PairImage
from copydetect.parts import ImageNumbers
from copydetect.storage import Storage
from copydetect.types import Candidate, Failure, ImageRow, Match

_IMAGES_KEPT = 128
_CACHE_FACTOR = 2


@dataclass(frozen=True)
class VerifyOptions:
    """Which candidates are verified, and how.

    min_score: those below are no copies without a look; matching, decoding: of the pairs that are
    looked at.
    """

    min_score: float = -np.inf
    matching: MatchOptions = field(default_factory=MatchOptions)
    decoding: DecodeOptions = field(default_factory=DecodeOptions)


class PairImages:
    """Opens the images of one side for verification, and keeps the last few.

    An image that cannot be opened any more, or has changed, is an ImageError each time.
    """

    def __init__(self, storage: Storage, numbers: ImageNumbers, options: VerifyOptions) -> None:
        self._storage = storage
        self._numbers = numbers
        self._options = options
        self._kept: OrderedDict[int, PairImage | ImageError] = OrderedDict()

    def row(self, number: int) -> ImageRow:
        """What is known of the image."""
        return self._numbers.row(number)

    def open(self, number: int) -> PairImage:
        """The image with this image_no, ready to be compared."""
        if number not in self._kept:
            self._kept[number] = self._opened(self._numbers.row(number))
            if len(self._kept) > _IMAGES_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        image = self._kept[number]
        if isinstance(image, ImageError):
            raise image
        return image

    def _opened(self, row: ImageRow) -> PairImage | ImageError:
        ((_, content),) = read_refs(self._storage, [row.ref])
        if isinstance(content, Failure):
            return ImageError(content.message)
        if hashlib.sha256(content).hexdigest() != row.sha256:
            return ImageError("the file changed while the run went on")
        options = self._options
        try:
            # Twice the working size, so that the last reduction is a good one.
            side = options.matching.working_px * _CACHE_FACTOR
            decoded = decode(content, side, options.decoding)
            size = (decoded.width_px, decoded.height_px)
            return prepare_image(row.image_id, decoded.pixels, options.matching, size)
        except ImageError as error:
            return error


@dataclass(frozen=True)
class MatchTables:
    """What verifying one part gives: rows of `matches` and of `failures`."""

    matches: pa.Table
    failures: pa.Table


def verify_part(
    storage: Storage,
    candidates_uri: str,
    pairs_uri: str,
    sides: tuple[PairImages, PairImages],
    options: VerifyOptions,
) -> MatchTables:
    """Verify the candidates of one part, from `min_score` up, in the order of their table.

    sides: images of the queries and of the references. A pair with an image that cannot be opened
    is a failure of that image, named once.
    """
    table = tables.read_table(storage, candidates_uri)
    pairs = read_pairs(storage, pairs_uri)
    matches: list[Match] = []
    failures: dict[tuple[str, str], Failure] = {}
    for row, candidate in _chosen(table, options):
        numbers = int(pairs.query[row]), int(pairs.reference[row])
        images = []
        for side, number in zip(sides, numbers, strict=True):
            try:
                images.append(side.open(number))
            except ImageError as error:
                failed = _failure(side.row(number), str(error))
                failures[failed.role, failed.image_id] = failed
        if len(images) == 2:
            points = correspondences(pairs, row, images[0], images[1])
            matches.append(verify_pair(*images, candidate, points, options.matching))
    return MatchTables(
        tables.rows_to_table(matches, tables.MATCHES),
        tables.rows_to_table(failures.values(), tables.FAILURES),
    )


def correspondences(
    pairs: PairNumbers, row: int, query: PairImage, reference: PairImage
) -> npt.NDArray[np.float32]:
    """(n, 4) float32: what the search found to agree, as fractions of width and height."""
    points = pairs.points[pairs.starts[row] : pairs.starts[row + 1]]
    longer = [
        max(image.full_width_px, image.full_height_px) / side
        for image in (query, reference)
        for side in (image.full_width_px, image.full_height_px)
    ]
    return np.asarray(points * np.array(longer, np.float32), np.float32)


def _chosen(table: pa.Table, options: VerifyOptions) -> Iterator[tuple[int, Candidate]]:
    scores = table["score"].to_numpy()
    for row in np.flatnonzero(scores >= options.min_score).tolist():
        values = table.slice(row, 1).to_pylist()[0]
        yield row, Candidate(**{k: np.nan if v is None else v for k, v in values.items()})


def _failure(row: ImageRow, message: str) -> Failure:
    return Failure(row.image_id, row.uri, "verify", "ImageError", message, row.role)
