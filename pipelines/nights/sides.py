"""Parts of a catalogue as the stages of a run read them."""

from __future__ import annotations

from collections.abc import Sequence

from copydetect.catalog.generations import CatalogPart, part_uris
from copydetect.parts import RoleParts

from .job import NightJob


def side_of(job: NightJob, parts: Sequence[CatalogPart]) -> RoleParts:
    """Consecutive parts of a catalogue, as stages read them."""
    images, descriptors, keypoints = (
        part_uris(job.catalog, tuple(parts), table)
        for table in ("images", "descriptors", "keypoints")
    )
    channels = job.settings.channels
    return RoleParts(
        images,
        tuple(part.rows for part in parts),
        descriptors if "descriptor" in channels else (),
        keypoints if "local" in channels else (),
        first=parts[0].start if parts else 0,
    )
