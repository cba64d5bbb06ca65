"""RAW and JPEG of one shot, listed as two images: both are kept, or both may be removed.

They are copies of each other by their pixels, and yet neither is spare. So one may go only where
the other goes too, as where a whole folder was copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from copydetect.inputs.companions import companions
from copydetect.types import GroupMember


def going_together(members: Sequence[GroupMember], images: pa.Table) -> list[GroupMember]:
    """The members. What belongs to an image that stays is no longer suggested for removal.

    members: of all groups; images: the `images` table.
    """
    files = images.filter(pc.equal(images["member"], ""))
    ids = dict(zip(files["uri"].to_pylist(), files["image_id"].to_pylist(), strict=True))
    beside = {
        ids[uri]: [ids[other.name] for other in others] for uri, others in companions(ids).items()
    }
    going = {member.image_id for member in members if member.suggested}
    # A shot can have three files, of which the second holds back the third.
    while held := {
        one for one in going if any(other not in going for other in beside.get(one, ()))
    }:
        going -= held
    kept = {member.group_id: member.image_id for member in members if member.keep}
    return [
        member
        if member.suggested == (member.image_id in going)
        else replace(
            member,
            suggested=False,
            kept_id=kept[member.group_id],
            reason=f"{member.reason}; stays: belongs to {beside[member.image_id][0]}",
        )
        for member in members
    ]
