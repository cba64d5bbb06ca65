"""The files of copies → their histories, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from copydetect import tables
from copydetect.errors import ImageError
from copydetect.grouping.file_history import FileHistory, read_history
from copydetect.images.decoding import DecodeOptions
from copydetect.inputs.sources import read_refs
from copydetect.storage.files import Storage
from copydetect.types import Failure, ImageRef


def histories_of(storage: Storage, refs: Sequence[ImageRef], options: DecodeOptions) -> pa.Table:
    """Rows of the `histories` table. An image that could be read when it was verified, and cannot
    be read any more, has no row."""
    found: list[FileHistory] = []
    for ref, content in read_refs(storage, refs):
        if isinstance(content, Failure):
            continue
        try:
            found.append(read_history(ref.image_id, content, options))
        except ImageError:
            continue
    return tables.rows_to_table(found, tables.HISTORIES)
