"""The tables: an Arrow schema each. Files are Parquet with zstd, or Snappy where they are small."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import parquet

from copydetect.errors import InputError, first_line
from copydetect.storage.files import Storage

_ROLE = pa.field("role", pa.string(), nullable=False)
_MATRIX = pa.list_(pa.float64())
_POLYGONS = pa.list_(pa.list_(pa.float32()))

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
        pa.field("captured_at", pa.timestamp("s")),
        pa.field("duplicate_of", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("transparent", pa.bool_()),
        pa.field("frames", pa.int32()),
        pa.field("duration_msec", pa.int64()),
        pa.field("companions", pa.list_(pa.string())),
    ]
)
"""One row per input image; width and height in px, upright; status: ok, duplicate or failed; the
others as in `types.ImageRow`."""

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
"""One row per image, units as in `types.Keypoints`; codes: n features × m bytes, row-major."""

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
        pa.field("crowded", pa.bool_(), nullable=False),
        pa.field("spare", pa.bool_(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
    ]
)
"""One row per candidate pair, as in `types.Candidate`; a channel that did not propose the pair
leaves its columns null."""

MATCHES = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("reference_id", pa.string(), nullable=False),
        pa.field("query_uri", pa.string(), nullable=False),
        pa.field("reference_uri", pa.string(), nullable=False),
        pa.field("similarity", pa.float32()),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("is_copy", pa.bool_(), nullable=False),
        pa.field("relation", pa.string(), nullable=False),
        pa.field("direction", pa.string(), nullable=False),
        pa.field("transform", _MATRIX, nullable=False),
        pa.field("inliers", pa.int32(), nullable=False),
        pa.field("query_region", _POLYGONS, nullable=False),
        pa.field("reference_region", _POLYGONS, nullable=False),
        pa.field("differs_region", _POLYGONS, nullable=False),
        pa.field("edits", pa.list_(pa.string()), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("proof", pa.float64()),
        pa.field("other_content", pa.float64()),
    ]
)
"""One row per verified candidate, copy or not, and per pair of a kept image and a member of its
group that no candidate compared; fields as in `types.Match`."""

GROUPS = pa.schema(
    [
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("keep", pa.bool_(), nullable=False),
        pa.field("suggested", pa.bool_(), nullable=False),
        pa.field("kept_id", pa.string(), nullable=False),
        pa.field("kept_uri", pa.string(), nullable=False),
        pa.field("relation", pa.string(), nullable=False),
        pa.field("certain", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("similarity_to_kept", pa.float32()),
    ]
)
"""One row per member of a group; fields as in `types.GroupMember`, kept_uri: where `kept_id` is."""

HISTORIES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("taken", pa.bool_(), nullable=False),
        pa.field("located", pa.bool_(), nullable=False),
        pa.field("editor", pa.string(), nullable=False),
        pa.field("changed", pa.bool_(), nullable=False),
        pa.field("resized", pa.bool_(), nullable=False),
        pa.field("retouched", pa.bool_(), nullable=False),
        pa.field("megapixels", pa.float32(), nullable=False),
        pa.field("detail_factor", pa.float32(), nullable=False),
        pa.field("coarseness", pa.float32(), nullable=False),
        pa.field("earlier", pa.float32(), nullable=False),
        pa.field("shifted", pa.bool_(), nullable=False),
        pa.field("padding_bytes", pa.int64(), nullable=False),
    ]
)
"""One row per content that has copies; fields as in `grouping.file_history.FileHistory`."""

FAILURES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        _ROLE,
        pa.field("uri", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error_type", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("retryable", pa.bool_(), nullable=False),
    ]
)
"""One row per file that failed, byte-identical files included; retryable: another try may
succeed."""

EVENTS = pa.schema(
    [
        pa.field("event", pa.int64(), nullable=False),
        pa.field("generation", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("other", pa.string(), nullable=False),
    ]
)
"""One row per change of a catalogue, in their order; see `catalog.lasting_groups`."""


def descriptors(dimension: int) -> pa.Schema:
    """Schema of the descriptors table: one row per view, vectors of `dimension` float16."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("view", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float16(), dimension), nullable=False),
            pa.field("weight", pa.float32(), nullable=False),
            pa.field("model", pa.string(), nullable=False),
        ]
    )


_WRITTEN: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
_SMALL_BYTES = 1 << 20
"""Of a table in memory. zstd begins anew for each column, which takes as long as all else that is
done to read the rows of 16 images."""

DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, MemoryError)
"""What reading a damaged Parquet file raises."""


@contextmanager
def damage_named(uri: str) -> Iterator[None]:
    """InputError that names a file, in place of what reading damaged Parquet raises."""
    try:
        yield
    except DAMAGED as error:
        raise InputError(f"{uri} is not a readable Parquet file: {first_line(error)}") from error


def opened(source: BinaryIO | pa.NativeFile) -> parquet.ParquetFile:
    """A Parquet file of which every page that is read is checked against its CRC-32, where it has
    one."""
    return parquet.ParquetFile(source, page_checksum_verification=True)


def write_table(
    storage: Storage, uri: str, table: pa.Table, rows_together: int | None = None
) -> None:
    """Write a Parquet file, whole or not at all; the folders that it needs are made.

    rows_together: rows of a row group, the least that can be read at once; few make single rows
    cheaper to read.
    """
    buffer = io.BytesIO()
    quick = {"compression": "snappy"} if table.nbytes < _SMALL_BYTES else {}
    parquet.write_table(table, buffer, rows_together, **(_WRITTEN | quick))
    storage.write(uri, buffer.getvalue())


def write_rows(
    storage: Storage, uri: str, rows: Iterable[object], schema: pa.Schema, together: int = 8192
) -> None:
    """Write dataclass instances as they come; memory holds some of them and the compressed file."""
    remaining = iter(rows)
    some = iter(lambda: list(islice(remaining, together)), [])
    write_batches(storage, uri, (rows_to_table(few, schema) for few in some), schema)


def write_batches(
    storage: Storage, uri: str, batches: Iterable[pa.Table], schema: pa.Schema
) -> None:
    """Write tables as they come, as one file; memory holds the compressed rows."""
    buffer = io.BytesIO()
    with parquet.ParquetWriter(buffer, schema, **_WRITTEN) as writer:
        for batch in batches:
            writer.write_table(batch)
    storage.write(uri, buffer.getvalue())


def read_batches(
    storage: Storage, uri: str, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """A Parquet file, or some of its columns, group of rows by group of rows; InputError names a
    file that is not such a table."""
    with storage.open(uri) as stream, damage_named(uri):
        file = opened(stream)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns, use_threads=False)


def read_table(storage: Storage, uri: str, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file, or some of its columns; InputError names a file that is none."""
    with damage_named(uri):
        return parsed(storage.read(uri), columns)


def parsed(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """The table that the bytes of a Parquet file hold, or some of its columns; one of `DAMAGED`
    where they hold none."""
    # `parquet.read_table` would load Arrow's datasets, and pandas where that is installed.
    table = opened(pa.BufferReader(data)).read(columns, use_threads=False)
    return table.select(columns) if columns else table


def read_tables(
    storage: Storage, uris: Sequence[str], schema: pa.Schema, columns: list[str] | None = None
) -> pa.Table:
    """The rows of all part files, in the order of `uris`; no rows where there are none."""
    if not uris:
        empty = schema.empty_table()
        return empty.select(columns) if columns else empty
    return pa.concat_tables([read_table(storage, uri, columns) for uri in uris])


def with_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """The table with other values in some of its columns."""
    for name, values in columns.items():
        at, field = table.schema.get_field_index(name), table.schema.field(name)
        if not isinstance(values, (pa.Array, pa.ChunkedArray)):
            values = pa.array(values, field.type)
        table = table.set_column(at, field, values)
    return table


def count_leaves(storage: Storage, uri: str, column: str) -> int:
    """About how many values the lists of a column hold together; exact for small tables."""
    with storage.open(uri) as file:
        part = opened(file)
        at = [field.path.split(".")[0] for field in part.metadata.schema].index(column)
        groups = map(part.metadata.row_group, range(part.metadata.num_row_groups))
        # An empty list counts as one value.
        values = sum(group.column(at).num_values for group in groups)
        if values > part.metadata.num_rows:
            return int(values)
        return sum(len(one) for one in part.read([column])[column].to_pylist())


def rows_to_table(rows: Iterable[object], schema: pa.Schema) -> pa.Table:
    """Dataclass instances, with a field for each column of `schema`, as a table."""
    return pa.Table.from_pylist([vars(row) for row in rows], schema=schema)


SCHEMAS = {
    "images": IMAGES,
    "keypoints": KEYPOINTS,
    "candidates": CANDIDATES,
    "matches": MATCHES,
    "histories": HISTORIES,
    "groups": GROUPS,
    "failures": FAILURES,
    "events": EVENTS,
}
"""The tables whose schema does not depend on a model."""
