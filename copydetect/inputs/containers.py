"""Images inside other files: members of tar shards and rows of Parquet, listed and read.

A member of a tar is "offset:size" in bytes, so that it is read without scanning the shard again. A
row of Parquet is "row group:row in it:column", where the column is a leaf such as `image.bytes`.
"""

from __future__ import annotations

import contextlib
import itertools
import posixpath
import sys
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import parquet

from copydetect import tables
from copydetect.errors import InputError, is_transient
from copydetect.inputs.row_copies import Place, places_of
from copydetect.storage.files import Storage
from copydetect.types import Failure, ImageRef, Role

_MAX_BYTES = 1 << 30
_ROWS_TOGETHER = 16
_PREFERRED_COLUMNS = ("image", "bytes", "image_bytes", "jpg")
_BLOCK_BYTES = 512

DAMAGED_TAR = (tarfile.TarError, OSError, ValueError, OverflowError)
"""What reading a damaged tar raises: a length of a hundred digits fits no machine's integers."""


def read_whole(storage: Storage, ref: ImageRef) -> bytes | Failure:
    """The bytes of a plain file; a Failure where it has vanished or cannot be read."""
    try:
        return storage.read(ref.uri, _MAX_BYTES)
    except (InputError, OSError) as error:
        return _failure(ref, error)


def list_tar(
    storage: Storage, uri: str, name: str, role: Role, extensions: Collection[str]
) -> tuple[list[ImageRef], list[Failure]]:
    """The images of a tar shard, and a failure where it is damaged or cut off.

    InputError where it is no tar at all. Compressed tars are none: they have no byte offsets.
    """
    refs: list[ImageRef] = []
    failures: list[Failure] = []
    with storage.open(uri) as stream:
        try:
            for image_id, member in _tar_images(stream, extensions):
                place = f"{member.offset_data}:{member.size}"
                refs.append(ImageRef(image_id, uri, place, role))
        except DAMAGED_TAR as error:
            if not refs:
                raise InputError(f"{uri} is not a readable tar file: {error}") from error
            reason = f"the tar is damaged after {len(refs)} images: {error}"
            failures.append(Failure(name, uri, "list", type(error).__name__, reason, role))
    return refs, failures


def check_tar(storage: Storage, uri: str, extensions: Collection[str]) -> None:
    """InputError unless `uri` is a tar with an image in it; reads up to the first one."""
    with storage.open(uri) as stream:
        try:
            first = next(_tar_images(stream, extensions), None)
        except DAMAGED_TAR as error:
            raise InputError(f"{uri} is not a readable tar file: {error}") from error
    if first is None:
        raise InputError(f"{uri} is a tar file without images")


def read_ranges(
    storage: Storage, uri: str, refs: Sequence[ImageRef]
) -> Iterator[tuple[ImageRef, bytes | Failure]]:
    """The bytes of members of one tar, in the order of their offsets."""
    try:
        stream = storage.open(uri)
    except InputError as error:
        yield from ((ref, _failure(ref, error)) for ref in refs)
        return
    with stream:
        for ref in sorted(refs, key=lambda ref: int(ref.member.split(":")[0])):
            offset, size = (int(number) for number in ref.member.split(":"))
            try:
                yield ref, _read_range(stream, offset, size)
            except (InputError, OSError) as error:
                yield ref, _failure(ref, error)


@contextlib.contextmanager
def open_parquet(storage: Storage, uri: str) -> Iterator[Any]:
    """A `pyarrow.parquet.ParquetFile`; InputError where it is none, or damaged."""
    with storage.open(uri) as stream, tables.damage_named(uri):
        yield parquet.ParquetFile(stream, buffer_size=1 << 20)


def find_binary_column(file: Any, uri: str, required: bool = True) -> str:
    """The path of the leaf that holds the images' bytes: binary, or a struct's field `bytes`.

    Of several, the one called image, bytes, image_bytes or jpg. Where there is none: InputError,
    or "" if it is not required.
    """
    leaves: dict[str, str] = {}
    for field in file.schema_arrow:
        if _is_binary(field.type):
            leaves[field.name] = field.name
        elif pa.types.is_struct(field.type):
            at = field.type.get_field_index("bytes")
            if at >= 0 and _is_binary(field.type.field(at).type):
                leaves[field.name] = f"{field.name}.bytes"
    names = [name for name in _PREFERRED_COLUMNS if name in leaves] or list(leaves)
    if len(names) == 1 or (names and names[0] in _PREFERRED_COLUMNS):
        return leaves[names[0]]
    if not required:
        return ""
    found = f"several: {', '.join(names)}; call one of them `image`" if names else "none"
    raise InputError(f"{uri} needs one column with the bytes of images, or `uri`; it has {found}")


def check_parquet(storage: Storage, uri: str) -> None:
    """InputError unless `uri` is Parquet with rows and a column of image bytes."""
    with open_parquet(storage, uri) as file:
        find_binary_column(file, uri)
        if not file.metadata.num_rows:
            raise InputError(f"{uri} holds no rows")


def list_parquet(
    storage: Storage, uri: str, name: str, role: Role
) -> tuple[list[ImageRef], list[Failure]]:
    """One reference per row of a Parquet file with embedded images."""
    refs = []
    with open_parquet(storage, uri) as file:
        column = find_binary_column(file, uri)
        with_ids = "image_id" in file.schema_arrow.names
        total = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            ids = [None] * rows
            if with_ids:
                ids = file.read_row_group(group, ["image_id"], use_threads=False)[0].to_pylist()
            for row, image_id in enumerate(ids):
                given = f"{name}#{total + row}" if image_id is None else str(image_id)
                refs.append(ImageRef(given, uri, f"{group}:{row}:{column}", role))
            total += rows
    return refs, []


def read_rows(
    storage: Storage, uri: str, refs: Sequence[ImageRef]
) -> Iterator[tuple[ImageRef, bytes | Failure]]:
    """The bytes of rows of one Parquet file; from their copies, where they have one.

    Those without are read in the order of the file, and each row group is streamed once.
    """
    places = places_of(storage, uri, refs)
    yield from _read_copies(storage, places)
    refs = [ref for ref in refs if ref not in places]
    wanted: dict[tuple[int, str], dict[int, list[ImageRef]]] = {}
    for ref in refs:
        at_group, at_row, leaf = ref.member.split(":", 2)
        wanted.setdefault((int(at_group), leaf), {}).setdefault(int(at_row), []).append(ref)
    for (group, column), rows in sorted(wanted.items()):
        reason: Exception = InputError(f"{uri} has no such row any more")
        try:
            with open_parquet(storage, uri) as file:
                for row, content in _stream_rows(file, group, column, max(rows)):
                    for ref in rows.pop(row, []):
                        yield ref, _row_bytes(ref, content)
        except InputError as error:
            reason = error
        for left in rows.values():
            yield from ((ref, _failure(ref, reason)) for ref in left)


def _read_copies(
    storage: Storage, places: Mapping[ImageRef, Place]
) -> Iterator[tuple[ImageRef, bytes | Failure]]:
    ordered = sorted(places.items(), key=itemgetter(1))
    by_block = itertools.groupby(ordered, lambda one: one[1][0])
    for block, copies in by_block:
        with storage.open(block) as stream:
            for ref, (_, offset, size) in copies:
                yield ref, _read_range(stream, offset, size)


def _stream_rows(file: Any, group: int, column: str, last: int) -> Iterator[tuple[int, Any]]:
    """(row, value) of one row group up to `last`, holding a few rows at a time."""
    if group >= file.num_row_groups:
        return
    row = 0
    batches = file.iter_batches(_ROWS_TOGETHER, [group], [column], use_threads=False)
    for batch in batches:
        values = batch.column(0)
        if pa.types.is_struct(values.type):
            values = values.field(0)
        for value in values:
            yield row, value
            row += 1
        if row > last:
            return


def _row_bytes(ref: ImageRef, value: Any) -> bytes | Failure:
    if not value.is_valid:
        return _failure(ref, InputError("the row holds no bytes"))
    content: bytes = value.as_py()
    return content


def _tar_images(
    stream: BinaryIO, extensions: Collection[str]
) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """(image_id, member) of the visible files with an image's extension."""
    for member in _tar_members(stream):
        name = member.name.removeprefix("./")
        extension = posixpath.splitext(name)[1].lower()
        if extension in extensions and not posixpath.basename(name).startswith("."):
            yield name.encode("utf-8", "backslashreplace").decode(), member


def _tar_members(stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The plain files of a tar; tarfile.ReadError where it is no tar, damaged or cut off."""
    with _damage_at(0):  # the first header is read at once
        opened = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115
    with opened as tar:
        while (member := _next_member(tar)) is not None:
            if member.isreg() and not member.issparse():
                yield member
            # tarfile keeps every header that it has seen: a shard of a million would fill memory.
            vars(tar)["members"].clear()
        # A damaged header in the middle ends the loop as if it were the end of the archive.
        stream.seek(tar.offset)
        block = stream.read(_BLOCK_BYTES)
        if block and (len(block) < _BLOCK_BYTES or any(block)):
            raise tarfile.ReadError(f"there is no header at byte {tar.offset}")


def _next_member(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    """The next header; tarfile.ReadError where it is damaged, whatever tarfile makes of it."""
    begun = tar.offset
    if begun == 0:  # not even the header that is read at once: Python 3.10 would look before it
        return None
    if begun > sys.maxsize:
        raise tarfile.ReadError("the last header gives a size that no file has")
    with _damage_at(begun):
        member = tar.next()
    if member is not None and (member.size < 0 or tar.offset <= member.offset):
        raise tarfile.ReadError(f"the header at byte {begun} gives a size of {member.size}")
    return member


def _read_range(stream: BinaryIO, offset: int, size: int) -> bytes:
    if size > _MAX_BYTES:
        raise InputError(f"{size} bytes are too many for one image; at most {_MAX_BYTES}")
    stream.seek(offset)
    content = stream.read(size)
    if len(content) < size:
        raise InputError(f"truncated: only {len(content)} of {size} bytes are there")
    return content


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _failure(ref: ImageRef, error: Exception) -> Failure:
    """Why an image cannot be read. What was found when it was listed may come back."""
    kind, retryable = type(error).__name__, is_transient(error)
    return Failure(ref.image_id, ref.uri, "read", kind, str(error), ref.role, retryable)


@contextlib.contextmanager
def _damage_at(begun: int) -> Iterator[None]:
    """Sizes, times and maps of sparse files are parsed unchecked: one kind of error for all."""
    try:
        yield
    except (tarfile.TarError, OSError):
        raise
    except OverflowError as error:
        message = f"the header at byte {begun} gives a length that no file has"
        raise tarfile.ReadError(message) from error
    except Exception as error:
        raise tarfile.ReadError(f"the header at byte {begun} is damaged: {error}") from error
