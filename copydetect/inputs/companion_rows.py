"""Pictures that could be removed → the files beside them that go with them, or that keep them."""

from __future__ import annotations

import glob
import posixpath
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from copydetect.inputs.companions import Companion, companions
from copydetect.storage.files import Storage

_Beside = Mapping[str, tuple[Companion, ...]]


def with_companions(
    storage: Storage, dropped: pa.Table, found: Mapping[str, Sequence[str]]
) -> pa.Table:
    """Rows of pictures that could go, each followed by the files that belong to it alone.

    dropped: with columns image_id, uri, member, kept_uri, reason, and others that are null for
    companions. found: the files that the run found beside each of its pictures, by URI; they count
    where a folder is not there, as for one who reads the run elsewhere. A picture is left out where
    a film or a RAW file belongs to it that is no picture of the run, and none like it belongs to
    the one that stays. Adds the column `belongs_to`, the image_id of a companion's picture.
    Pictures inside shards have no companions.
    """
    rows = dropped.to_pylist()
    beside = _beside(storage, rows, found)
    rows = [row for row in rows if not _has_more(row, beside, {row["uri"] for row in rows})]
    going = {row["uri"] for row in rows if not row["member"]}
    going |= {one.name for uri in going for one in beside.get(uri, ()) if one.kind != "sidecar"}
    owners: dict[str, set[str]] = {}
    for uri, others in beside.items():
        for one in others:
            owners.setdefault(one.name, set()).add(uri)
    told = {row["uri"] for row in rows}
    going_rows = []
    for row in rows:
        going_rows.append({**row, "belongs_to": None})
        for one in () if row["member"] else beside.get(row["uri"], ()):
            if one.name not in told and owners[one.name] <= going | {one.name}:
                told.add(one.name)
                going_rows.append(_companion_row(row, one))
    return pa.Table.from_pylist(
        going_rows, dropped.schema.append(pa.field("belongs_to", pa.string()))
    )


def _beside(
    storage: Storage, rows: Iterable[Mapping[str, str]], found: Mapping[str, Sequence[str]]
) -> _Beside:
    """The companions of all pictures in the folders of some pictures, and of those that stay in
    their place."""
    uris = {row[name] for row in rows if not row["member"] for name in ("uri", "kept_uri")}
    names: set[str] = set()
    gone = set()
    for folder in sorted({posixpath.dirname(uri) for uri in uris if uri}):
        listed = {file.uri for file in storage.matching(f"{glob.escape(folder)}/*")}
        names |= listed
        gone |= set() if listed else {folder}
    for uri, others in found.items():
        if posixpath.dirname(uri) in gone:
            names |= {uri, *others}
    return companions(names)


def _has_more(row: Mapping[str, str], beside: _Beside, dropped: set[str]) -> bool:
    """Whether a picture has a companion of a kind that the kept picture has not."""
    if row["member"]:
        return False
    kept = {one.kind for one in beside.get(row["kept_uri"] or "", ())}
    return any(
        one.kind != "sidecar" and one.name not in dropped and one.kind not in kept
        for one in beside.get(row["uri"], ())
    )


def _companion_row(row: Mapping[str, str], one: Companion) -> dict[str, object]:
    folder = posixpath.dirname(row["image_id"])
    return {
        **dict.fromkeys(row),
        "image_id": posixpath.join(folder, posixpath.basename(one.name)),
        "role": row["role"],
        "uri": one.name,
        "member": "",
        "kept_id": row["kept_id"],
        "kept_uri": row["kept_uri"],
        "reason": f"belongs to {row['image_id']} ({one.kind})",
        "belongs_to": row["image_id"],
    }
