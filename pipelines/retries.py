"""Images of a finished run to try again: those that failed for a temporary reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.inputs.listing import DIGESTED, ListedImage, RowSum
from copydetect.runs import Manifest
from copydetect.storage.files import Storage
from copydetect.transforms.refs_to_descriptions import DescriberSetup, can_be_described
from copydetect.types import ImageRow

_OF_DESCRIPTIONS = (
    "index",
    "search",
    "candidates",
    "pairs",
    "matches",
    "verify-failures",
    "judged",
    "comparisons",
    "groups",
)


def some_can_be_read_now(
    storage: Storage, output: str, manifest: Manifest, setup: DescriberSetup
) -> bool:
    """Whether an image that failed for a passing reason can be described by now.

    Those that could not even be listed are listed anew by every run.
    """
    failures = manifest.table(storage, output, "failures", ["role", "image_id", "retryable"])
    failed = failures.filter(failures["retryable"]).to_pylist()
    if not failed:
        return False
    wanted = {(row["role"], row["image_id"]) for row in failed}
    return any(
        can_be_described(storage, setup, image)
        for image in _listed_images(storage, output, manifest)
        if (image.role, image.image_id) in wanted
    )


def forget_what_follows(storage: Storage, output: str, folder: str) -> None:
    """Remove the manifest of a run, and all but its descriptions: some of these will change."""
    storage.delete(runs.join(output, runs.MANIFEST))
    for name in _OF_DESCRIPTIONS:
        storage.delete(runs.join(output, folder, name))


def only_failures_have_gone(
    storage: Storage, output: str, manifest: Manifest, listings: Iterable[str]
) -> bool:
    """Whether the input is what it was in a run, apart from images that could not be read then.

    listings: files of the new listing, of all roles. Holds no more than those images.
    """
    failed: set[tuple[str, str]] = set()
    before = now = RowSum()
    for table in manifest.batches(storage, output, "images", ["role", "image_id", "sha256"]):
        unread = table.filter(pc.is_null(table["sha256"])).to_pylist()
        failed.update((row["role"], row["image_id"]) for row in unread)
        before += _sum_of(table.filter(pc.is_valid(table["sha256"])))
    gone = 0
    for uri in listings:
        for listed in tables.read_batches(storage, uri, DIGESTED):
            read = listed.filter(pc.equal(listed["error_type"], ""))
            keys = zip(read["role"].to_pylist(), read["image_id"].to_pylist(), strict=True)
            again = np.fromiter((key in failed for key in keys), np.bool_, len(read))
            gone += int(again.sum())
            now += _sum_of(read.filter(pa.array(~again)))
    return gone > 0 and now == before


def _sum_of(images: pa.Table) -> RowSum:
    """Of images that could be read."""
    nothing = pa.array([""] * len(images), pa.string())
    readable = images.select(["role", "image_id", "sha256"]).append_column("error_type", nothing)
    return RowSum.of_tables([readable])


def _listed_images(storage: Storage, output: str, manifest: Manifest) -> Iterator[ListedImage]:
    for uri in manifest.table_uris(output, "images"):
        for values in tables.read_table(storage, uri).to_pylist():
            row = ImageRow(**values)
            if row.sha256 is not None and row.bytes is not None:
                place = (row.image_id, row.role, row.uri, row.member)
                yield ListedImage(*place, row.sha256, row.bytes)
