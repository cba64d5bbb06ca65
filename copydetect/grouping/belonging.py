"""RAW and JPEG of one shot, listed as two images: both are kept, or both may be removed.

They are copies of each other by their pixels, and yet neither is spare. So one may go only where
the other goes too, as where a whole folder was copied. A picture with a film, or with a RAW that is
no image of the run, may go only where one like it belongs to the kept image.
"""

from __future__ import annotations

import posixpath
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
    needed = _needed(members, images)
    going = {member.image_id for member in members if member.suggested} - needed.keys()
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
            reason=f"{member.reason}; stays: "
            + needed.get(member.image_id, f"belongs to {beside.get(member.image_id, [''])[0]}"),
        )
        for member in members
    ]


def _needed(members: Sequence[GroupMember], images: pa.Table) -> dict[str, str]:
    """Images with a film, or with a RAW that is no image of the run, of which the kept image has
    none: by image_id, what is said of it."""
    uris = set(images["uri"].to_pylist())
    alone: dict[str, dict[str, str]] = {}
    beside = pc.greater(pc.list_value_length(images["companions"]), 0)
    for row in images.filter(beside).to_pylist():
        others = companions([row["uri"], *row["companions"]]).get(row["uri"], ())
        alone[row["image_id"]] = {
            one.kind: one.name for one in others if one.kind != "sidecar" and one.name not in uris
        }
    found = {}
    for member in members:
        here, there = (alone.get(one, {}) for one in (member.image_id, member.kept_id))
        for kind in sorted(here.keys() - there.keys()):
            found[member.image_id] = f"{posixpath.basename(here[kind])} belongs to it"
    return found
