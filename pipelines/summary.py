"""The few lines that a job ends with: what was found, and where it is."""

from __future__ import annotations

import pyarrow.compute as pc

from copydetect import runs
from copydetect.runs import Manifest
from copydetect.storage import Storage


def summary_of(storage: Storage, output: str, manifest: Manifest, page: str | None) -> str:
    """What a finished run found, in a few lines; page: of the report, None without one."""
    images = manifest.table(storage, output, "images", ["image_id", "status", "bytes"])
    failed = manifest.counts["failures"]
    lines = [
        f"{len(images):,} images in {_duration(sum(manifest.seconds.values()))}"
        + (f"; {failed:,} failed, see the failures table" if failed else "")
    ]
    if manifest.tables.get("groups"):
        groups = manifest.table(storage, output, "groups", ["group_id", "image_id", "keep"])
        count = pc.count_distinct(groups["group_id"]).as_py()
        spare = groups.filter(pc.invert(groups["keep"]))["image_id"]
        size = pc.sum(images.filter(pc.is_in(images["image_id"], spare))["bytes"]).as_py() or 0
        lines.append(
            f"{len(spare):,} are copies of {count:,} others and could go, {size / 1e6:,.1f} MB"
            if count
            else "no copies were found"
        )
    else:
        matches = manifest.table(storage, output, "matches", ["query_id", "is_copy"])
        copies = matches.filter(matches["is_copy"])
        queries = pc.count_distinct(copies["query_id"]).as_py()
        lines.append(f"{queries:,} queries are copies of references, {len(copies):,} pairs")
    lines.append(f"tables  {runs.join(output, manifest.folder)}")
    if page:
        lines.append(f"look at {page}")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
