"""Members of groups → rows of the `groups` table, with where each image and the kept one are."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from copydetect import tables
from copydetect.types import GroupMember


def groups_table(members: Sequence[GroupMember], images: pa.Table) -> pa.Table:
    """members: of whole groups; images: the `images` table that they are in."""
    uris = dict(zip(images["image_id"].to_pylist(), images["uri"].to_pylist(), strict=True))
    rows = [
        {**vars(member), "uri": uris[member.image_id], "kept_uri": uris[member.kept_id]}
        for member in members
    ]
    return pa.Table.from_pylist(rows, schema=tables.GROUPS)
