"""All images and matches → those that grouping needs. Images without any copy are left out.

Of a large pile most images are copies of nothing. They and their matches are looked at part by
part, and none of them is held: one worker groups as many copies as it has memory for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copydetect.images.raw import is_named_raw

NUMBER = "image_no"
"""Column of an involved image: the number of its row in the whole `images` table."""

_ENDS = ["query_id", "reference_id"]
_EXTENSION = r"\.[^./]*$"


def involved(
    parts: Callable[[], Iterable[pa.Table]],
    matches: Callable[[list[str] | None], Iterable[pa.Table]],
    spare: pa.Table | None = None,
) -> tuple[pa.Table, pa.Table]:
    """The images that may be in a group, and the RAW or JPEG of their shots; the matches of them.

    parts: reads the parts of the `images` table, in their order; byte-identical files are in one.
    matches: reads those of the `matches` table, some columns or all; spare: `candidates` that were
    left out, whose images may come into a group yet. The images have a further column, `NUMBER`.
    """
    known = matches([*_ENDS, "is_copy"])
    pairs = [part.filter(part["is_copy"]).select(_ENDS) for part in known]
    pairs += [] if spare is None else [spare.select(_ENDS)]
    named = [chunk for table in pairs for end in _ENDS for chunk in table[end].chunks]
    ids = pc.unique(pa.chunked_array(named, pa.string()))
    found, raw = [], False
    for part in _numbered(parts()):
        found.append(part.filter(_may_be_in_group(part, ids)))
        raw = raw or any(map(is_named_raw, part["uri"].to_pylist()))
    images = pa.concat_tables(found)
    if raw and len(images):
        shots = pc.unique(_shots(images))
        for part in _numbered(parts()):
            beside = pc.is_in(_shots(part), shots)
            found.append(part.filter(pc.and_not(beside, _may_be_in_group(part, ids))))
        images = pa.concat_tables(found)
    ids = images["image_id"].combine_chunks()
    between = [
        part.filter(pc.and_(*(pc.is_in(part[name], ids) for name in _ENDS)))
        for part in matches(None)
    ]
    return images, pa.concat_tables(between)


def _numbered(parts: Iterable[pa.Table]) -> Iterable[pa.Table]:
    start = 0
    for part in parts:
        numbers = pa.array(np.arange(start, start + len(part)), pa.int64())
        start += len(part)
        yield part.append_column(NUMBER, numbers)


def _may_be_in_group(part: pa.Table, ids: pa.Array) -> pa.ChunkedArray:
    """Which rows are in a pair of copies, or have the bytes of another one."""
    repeated = part["duplicate_of"]
    has_twin = pc.is_in(part["image_id"], pc.drop_null(repeated).combine_chunks())
    return pc.or_(pc.or_(pc.is_in(part["image_id"], ids), has_twin), pc.is_valid(repeated))


def _shots(part: pa.Table) -> pa.ChunkedArray:
    """What the URIs of all files of one shot have in common."""
    return pc.utf8_lower(pc.replace_substring_regex(part["uri"], _EXTENSION, ""))
