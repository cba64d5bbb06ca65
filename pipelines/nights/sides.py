"""Parts of a catalogue as the stages of a run read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from copydetect.catalog.generations import CatalogPart, part_uris
from copydetect.parts import RoleParts
from copydetect.types import Ints

from .job import NightJob


@dataclass(frozen=True)
class LaterParts(RoleParts):
    """Some parts of a catalogue, behind others. first: number of their first image."""

    first: int = 0

    @property
    def starts(self) -> Ints:
        """(parts + 1,) image_no of the first image of each part."""
        return np.cumsum([self.first, *self.image_counts]).astype(np.int64)


def side_of(job: NightJob, parts: Sequence[CatalogPart]) -> LaterParts:
    """Consecutive parts of a catalogue, as stages read them."""
    images, descriptors, keypoints = (
        part_uris(job.catalog, tuple(parts), table)
        for table in ("images", "descriptors", "keypoints")
    )
    channels = job.settings.channels
    return LaterParts(
        images,
        tuple(part.rows for part in parts),
        descriptors if "descriptor" in channels else (),
        keypoints if "local" in channels else (),
        first=parts[0].start if parts else 0,
    )
