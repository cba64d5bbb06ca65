"""Inputs of the Python functions → paths for `find_sources`; images given as bytes are written to
OUT.

Workers read files. So images that are given as bytes are written below OUT first, as one Parquet
file that is named by its content, and are listed as any other Parquet with images.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Sequence

import pyarrow as pa
from pyarrow import parquet

from copydetect import runs
from copydetect.errors import InputError
from copydetect.storage.files import Storage
from copydetect.types import Role

INPUTS = "inputs"
"""Folder of OUT for the images that were given as bytes."""

_ROWS_TOGETHER = 64

Location = str | os.PathLike[str]
Inputs = Location | Sequence[Location] | Iterable[tuple[str, bytes]]
"""One input, several, or images as pairs of image_id and the bytes of a file."""


def specs_of(storage: Storage, output: str, role: Role, given: Inputs) -> tuple[str, ...]:
    """The inputs as paths and URIs; InputError where they are neither those nor images.

    Pairs are written to OUT/inputs/.
    """
    if isinstance(given, (str, os.PathLike)):
        return (os.fspath(given),)
    listed = list(given)
    paths = [os.fspath(one) for one in listed if isinstance(one, (str, os.PathLike))]
    if len(paths) == len(listed):
        return tuple(paths)
    pairs = [_pair(one) for one in listed]
    return (_written(storage, runs.join(output, INPUTS), role, pairs),)


def _pair(given: object) -> tuple[str, bytes]:
    if isinstance(given, tuple) and len(given) == 2:
        image_id, data = given
        if isinstance(image_id, str) and isinstance(data, (bytes, bytearray, memoryview)):
            return image_id, bytes(data)
    raise InputError(
        f"an input is a path, or a pair of an image_id and bytes; not {type(given).__name__}"
    )


def _written(storage: Storage, folder: str, role: Role, pairs: list[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for image_id, data in pairs:
        digest.update(repr(image_id).encode() + hashlib.sha256(data).digest())
    uri = runs.join(folder, f"{role}-{digest.hexdigest()[:16]}.parquet")
    if not storage.exists(uri):
        ids, contents = zip(*pairs, strict=True)
        table = pa.table({"image_id": pa.array(ids), "image": pa.array(contents, pa.binary())})
        stream = io.BytesIO()
        parquet.write_table(table, stream, _ROWS_TOGETHER, compression="none")
        storage.write(uri, stream.getvalue())
    return uri
