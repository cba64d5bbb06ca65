"""The tables: one Arrow schema each. Files are Parquet with zstd compression."""

from __future__ import annotations

import pyarrow as pa

_ROLE = pa.field("role", pa.string(), nullable=False)
_MATRIX = pa.list_(pa.float64())

IMAGES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        _ROLE,
        pa.field("uri", pa.string(), nullable=False),
        pa.field("member", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("format", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("bytes", pa.int64()),
        pa.field("duplicate_of", pa.string()),
        pa.field("status", pa.string(), nullable=False),
    ]
)
"""One row an input image; width and height in px, upright; status: ok, duplicate or failed."""

KEYPOINTS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("width_px", pa.int16(), nullable=False),
        pa.field("height_px", pa.int16(), nullable=False),
        pa.field("x", pa.list_(pa.uint8()), nullable=False),
        pa.field("y", pa.list_(pa.uint8()), nullable=False),
        pa.field("scale", pa.list_(pa.uint8()), nullable=False),
        pa.field("angle", pa.list_(pa.uint8()), nullable=False),
        pa.field("codes", pa.binary(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
    ]
)
"""One row an image, units as in `types.Keypoints`; codes: n features × m bytes, row-major."""

CANDIDATES = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("reference_id", pa.string(), nullable=False),
        pa.field("similarity", pa.float32()),
        pa.field("descriptor_score", pa.float32()),
        pa.field("votes", pa.float32()),
        pa.field("local_score", pa.float32()),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("query_view", pa.string()),
        pa.field("reference_view", pa.string()),
        pa.field("rank", pa.int32(), nullable=False),
    ]
)
"""One row a candidate pair; a channel that did not propose the pair leaves its columns null."""

MATCHES = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("reference_id", pa.string(), nullable=False),
        pa.field("similarity", pa.float32()),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("is_copy", pa.bool_(), nullable=False),
        pa.field("direction", pa.string(), nullable=False),
        pa.field("transform", _MATRIX, nullable=False),
        pa.field("inliers", pa.int32(), nullable=False),
        pa.field("query_region", pa.list_(pa.float32()), nullable=False),
        pa.field("reference_region", pa.list_(pa.float32()), nullable=False),
        pa.field("edits", pa.list_(pa.string()), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
"""One row a verified candidate, copies or not; fields as in `types.Match`."""

GROUPS = pa.schema(
    [
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("keep", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("similarity_to_kept", pa.float32()),
    ]
)

FAILURES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        _ROLE,
        pa.field("uri", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error_type", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)


def descriptors(dimension: int) -> pa.Schema:
    """Schema of the descriptors table: one row a view, vectors of `dimension` float16."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("view", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float16(), dimension), nullable=False),
            pa.field("bias", pa.float32(), nullable=False),
            pa.field("model", pa.string(), nullable=False),
        ]
    )
