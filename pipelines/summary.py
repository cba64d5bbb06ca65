"""The few lines that a job ends with: what was found, and where it is."""

from __future__ import annotations

import pyarrow.compute as pc

from copydetect import runs
from copydetect.runs import Manifest
from copydetect.storage import Storage


def summary_of(
    storage: Storage, output: str, manifest: Manifest, page: str | None, again: bool = False
) -> str:
    """What a finished run found, in a few lines.

    page: of the report, None without one; again: it was finished already.
    """
    images = manifest.table(storage, output, "images", ["image_id", "status", "bytes"])
    failed = manifest.counts["failures"]
    took = "as in the run before" if again else f"in {_duration(sum(manifest.seconds.values()))}"
    lines = [
        f"{_counted(len(images), 'image')} {took}"
        + (f"; {failed:,} failed, see the failures table" if failed else "")
    ]
    if manifest.tables.get("groups"):
        groups = manifest.table(storage, output, "groups", ["group_id", "image_id", "keep"])
        count = pc.count_distinct(groups["group_id"]).as_py()
        spare = groups.filter(pc.invert(groups["keep"]))["image_id"]
        size = pc.sum(images.filter(pc.is_in(images["image_id"], spare))["bytes"]).as_py() or 0
        lines.append(_copies(len(spare), count, size) if count else "no copies were found")
    else:
        matches = manifest.table(storage, output, "matches", ["query_id", "is_copy"])
        copies = matches.filter(matches["is_copy"])
        queries = pc.count_distinct(copies["query_id"]).as_py()
        found = "1 query is a copy" if queries == 1 else f"{queries:,} queries are copies"
        lines.append(f"{found} of references, {_counted(len(copies), 'pair')}")
    lines.append(f"tables  {runs.join(output, manifest.folder)}")
    if page:
        lines.append(f"look at {page}")
    return "\n".join(lines)


def _copies(spare: int, kept: int, size_bytes: int) -> str:
    subject = "1 is a copy" if spare == 1 else f"{spare:,} are copies"
    return f"{subject} of {_counted(kept, 'other')} and could go, {size_bytes / 1e6:,.1f} MB"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
