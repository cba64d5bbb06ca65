"""The images of one part → their descriptors and local features: decode once, describe, forget.

Pixels live only as long as one batch; what stays is a few kilobytes per image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from copydetect import tables
from copydetect.description import keypoints
from copydetect.description.keypoints import Features, KeypointOptions, Quantiser
from copydetect.description.normalization import normalize_vectors
from copydetect.description.renderings import MOMENTS_DECODED, Rendering, renderings_of
from copydetect.description.views import View, ViewOptions, views_of
from copydetect.errors import ImageError, is_transient
from copydetect.images.decoding import DecodedImage, DecodeOptions, decode
from copydetect.inputs.listing import ListedImage, byte_identical, read_in_turn
from copydetect.storage.files import Storage
from copydetect.types import DEADLY, Failure, ImageRow, ImageStatus, Keypoints, Pixels

if TYPE_CHECKING:
    # torch takes seconds to load, and local features do without.
    from copydetect.description.descriptors import Embedder, Vectors

DESCRIBED_SIDE_PX = 448
"""Longer side of the pixels that views and local features are made of."""

_BATCH_IMAGES = 32
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_NO_OPACITY = np.empty((0, 0), np.uint8)


@dataclass(frozen=True)
class DescriberOptions:
    """What is made of each image: its views, local features and normalised descriptors."""

    views: ViewOptions = field(default_factory=ViewOptions)
    keypoints: KeypointOptions = keypoints.STANDARD
    decoding: DecodeOptions = field(default_factory=DecodeOptions)


@dataclass(frozen=True)
class Describer:
    """What a worker holds to describe images.

    embedder: None makes no descriptors; background: (b, d) float32, what descriptors are
    normalised against; quantiser: None detects no local features.
    """

    options: DescriberOptions
    embedder: Embedder | None
    background: Vectors
    quantiser: Quantiser | None

    @property
    def side_px(self) -> int:
        """Longer side of the pixels that are described; small thumbnails alone need fewer."""
        options = self.options
        if self.embedder is not None or options.views != ViewOptions():
            return DESCRIBED_SIDE_PX
        return min(2 * options.keypoints.thumbnail_px, DESCRIBED_SIDE_PX)


@dataclass(frozen=True)
class PartTables:
    """What describing one part gives: rows of four tables; descriptors may be absent."""

    images: pa.Table
    descriptors: pa.Table | None
    keypoints: pa.Table
    failures: pa.Table


def describe_part(
    storage: Storage,
    listed: Iterable[ListedImage],
    describer: Describer,
    deadly: Collection[str] = (),
) -> PartTables:
    """Describe the images of one part; whatever fails becomes a row of failures.

    Of byte-identical files one is decoded, the first that can be read. What cannot be decoded are
    failures of all of them. Rows are in the order of `parts.byte_identical`. deadly: SHA-256 of
    contents that are failures without a look.
    """
    families = byte_identical(listed)
    gathered = _Gathered()
    readable = []
    for twins in families:
        first = twins[0]
        if first.error_type:
            why = (first.error_type, first.message, first.retryable)
            gathered.failures[first.image_id] = first.failure("list", *why)
        elif first.sha256 in deadly:
            # Memory may have run out, and there may be more another time.
            gathered.fail(twins, "decode", "WorkerError", DEADLY, retryable=True)
        else:
            readable.append(twins)
    for batch in _batches(read_in_turn(storage, readable), _BATCH_IMAGES):
        opened = []
        for tried, content in batch:
            if isinstance(content, Failure):
                gathered.failures[tried[0].image_id] = content
            else:
                opened.append((tried, content))
        _describe_batch(opened, describer, gathered)
    return _tables_of(families, describer, gathered)


@dataclass
class _Gathered:
    """The results of one part so far, by image_id or row by row in the order of reading."""

    decoded: dict[str, DecodedImage] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    keypoints: list[Keypoints] = field(default_factory=list)
    views: list[tuple[str, str]] = field(default_factory=list)
    vectors: list[Vectors] = field(default_factory=list)
    weights: list[Vectors] = field(default_factory=list)

    def fail(
        self,
        twins: Sequence[ListedImage],
        stage: str,
        error_type: str,
        message: str,
        retryable: bool,
    ) -> None:
        for image in twins:
            self.failures[image.image_id] = image.failure(stage, error_type, message, retryable)


def _describe_batch(
    contents: Sequence[tuple[Sequence[ListedImage], bytes]],
    describer: Describer,
    gathered: _Gathered,
) -> None:
    options = describer.options
    pixels: list[Pixels] = []
    for twins, content in contents:
        image_id = twins[0].image_id
        try:
            decoded = decode(
                content,
                describer.side_px,
                options.decoding,
                in_pieces=True,
                moments=MOMENTS_DECODED,
            )
        except ImageError as error:
            gathered.fail(twins, "decode", "ImageError", str(error), is_transient(error))
            continue
        renderings = renderings_of(decoded)
        views = views_of(renderings, options.views)
        if describer.quantiser is not None:
            features = local_features(renderings, views, options.keypoints)
            gathered.keypoints.append(
                keypoints.quantise(features, describer.quantiser, image_id, options.keypoints)
            )
        if describer.embedder is not None:
            gathered.views += [(image_id, view.name) for view in views]
            pixels += [view.pixels for view in views]
        gathered.decoded[image_id] = _without_pixels(decoded)
    if describer.embedder is not None:
        vectors = describer.embedder.embed(pixels)
        vectors, weights = normalize_vectors(vectors, describer.background)
        gathered.vectors.append(vectors)
        gathered.weights.append(weights)


def _without_pixels(decoded: DecodedImage) -> DecodedImage:
    """The image without its pixels: of its opacity, only whether there is one."""
    opacity = None if decoded.opacity is None else _NO_OPACITY
    extent = replace(decoded.moments, later=())
    return replace(decoded, pixels=_NO_PIXELS, opacity=opacity, moments=extent)


def local_features(
    renderings: Sequence[Rendering], views: Sequence[View], options: KeypointOptions
) -> Features:
    """As many local features as the options say: an eighth of each picture inside, seen larger.

    Long pictures have more, and every further rendering adds what the others do not show.
    """
    pixels = renderings[0].pixels
    options = keypoints.of_long_picture(options, pixels.shape[1], pixels.shape[0])
    inside = [view for view in views if view.name.startswith("frame-")]
    eighth = max(options.max_keypoints // 8, 1)
    rest = max(options.max_keypoints - eighth * len(inside), 1)
    whole = keypoints.extract(pixels, replace(options, max_keypoints=rest))
    for view in inside:
        part = keypoints.extract(view.pixels, replace(options, max_keypoints=eighth))
        left, top = -view.transform[:2, 2]
        part = _placed(part, (left, top), max(view.pixels.shape[:2]), whole, pixels)
        whole = keypoints.joined(whole, part)
    for rendering in renderings[1:]:
        found = keypoints.extract(rendering.pixels, options)
        whole = keypoints.joined(whole, keypoints.new_among(found, whole))
    return whole


def _placed(
    inside: Features, corner: tuple[float, float], side_px: int, whole: Features, pixels: Pixels
) -> Features:
    """Features of a part of an image, as if they were found in the thumbnail of the whole.

    corner: left and top of the part, side_px: its longer side, both in px of the image.
    """
    to_image = side_px / max(inside.width_px, inside.height_px)
    to_thumbnail = max(whole.width_px, whole.height_px) / max(pixels.shape[:2])
    return replace(
        inside,
        x_px=((inside.x_px * to_image + corner[0]) * to_thumbnail).astype(np.float32),
        y_px=((inside.y_px * to_image + corner[1]) * to_thumbnail).astype(np.float32),
        diameter_px=inside.diameter_px * np.float32(to_image * to_thumbnail),
    )


def _tables_of(
    families: Sequence[Sequence[ListedImage]], describer: Describer, gathered: _Gathered
) -> PartTables:
    rows = [
        _image_row(image, decoded, gathered)
        for twins in families
        for decoded in [next((i.image_id for i in twins if i.image_id in gathered.decoded), None)]
        for image in twins
    ]
    return PartTables(
        images=tables.rows_to_table(rows, tables.IMAGES),
        descriptors=_descriptor_table(describer, gathered),
        keypoints=_keypoint_table(gathered.keypoints),
        failures=tables.rows_to_table(gathered.failures.values(), tables.FAILURES),
    )


def _image_row(image: ListedImage, described_id: str | None, gathered: _Gathered) -> ImageRow:
    """described_id: of the byte-identical file that was decoded for all, if any was."""
    failed = described_id is None or image.image_id in gathered.failures
    decoded = None if failed else gathered.decoded[described_id or ""]
    twin = None if failed or described_id == image.image_id else described_id
    status: ImageStatus = "failed" if failed else "duplicate" if twin else "ok"
    captured = datetime.fromisoformat(decoded.captured) if decoded and decoded.captured else None
    return ImageRow(
        image_id=image.image_id,
        role=image.role,
        uri=image.uri,
        member=image.member,
        sha256=None if image.error_type else image.sha256,
        format=decoded.format if decoded else None,
        width=decoded.width_px if decoded else None,
        height=decoded.height_px if decoded else None,
        bytes=None if image.error_type else image.bytes,
        captured_at=captured,
        duplicate_of=twin,
        status=status,
        transparent=decoded.opacity is not None if decoded else None,
        frames=decoded.moments.frames if decoded else None,
        duration_msec=decoded.moments.duration_msec if decoded else None,
        companions=image.companions,
    )


def _descriptor_table(describer: Describer, gathered: _Gathered) -> pa.Table | None:
    if describer.embedder is None:
        return None
    dimension = describer.embedder.dimension
    vectors = np.concatenate([np.empty((0, dimension), np.float32), *gathered.vectors])
    weights = np.concatenate([np.empty(0, np.float32), *gathered.weights])
    flat = pa.array(vectors.astype(np.float16).reshape(-1))
    return pa.table(
        {
            "image_id": [image_id for image_id, _ in gathered.views],
            "view": [view for _, view in gathered.views],
            "vector": pa.FixedSizeListArray.from_arrays(flat, dimension),
            "weight": weights,
            "model": [describer.embedder.identity] * len(vectors),
        },
        schema=tables.descriptors(dimension),
    )


def _keypoint_table(features: Sequence[Keypoints]) -> pa.Table:
    columns = {name: [getattr(one, name) for one in features] for name in tables.KEYPOINTS.names}
    columns["codes"] = [one.codes.tobytes() for one in features]
    return pa.table(columns, schema=tables.KEYPOINTS)


_Read = tuple[Sequence[ListedImage], bytes | Failure]


def _batches(contents: Iterable[_Read], size: int) -> Iterator[list[_Read]]:
    remaining = iter(contents)
    while batch := list(islice(remaining, size)):
        yield batch
