"""The stages as Beam transforms, for one's own pipelines; no algorithms.

    with beam.Pipeline() as pipeline:
        found = pipeline | copydetect.transforms.DedupImages("photos", "work")
        found["groups"] | beam.Map(print)

They are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from copydetect.transforms.candidates_to_matches import CandidatesToMatches
    from copydetect.transforms.copies_to_histories import CopiesToHistories
    from copydetect.transforms.dedup_images import DedupImages
    from copydetect.transforms.descriptors_to_neighbors import DescriptorsToNeighbors
    from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
    from copydetect.transforms.images_to_edits import ImagesToEdits
    from copydetect.transforms.images_to_refs import ImagesToRefs
    from copydetect.transforms.keypoints_to_votes import KeypointsToVotes
    from copydetect.transforms.matches_to_groups import MatchesToGroups
    from copydetect.transforms.neighbors_to_candidates import NeighborsToCandidates
    from copydetect.transforms.neighbors_to_recall import NeighborsToRecall
    from copydetect.transforms.neighbors_to_votes import NeighborsToVotes
    from copydetect.transforms.refs_to_descriptions import RefsToDescriptions
    from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors

__all__ = [
    "CandidatesToMatches",
    "CopiesToHistories",
    "DedupImages",
    "DescriptorsToNeighbors",
    "DescriptorsToShards",
    "ImagesToEdits",
    "ImagesToRefs",
    "KeypointsToVotes",
    "MatchesToGroups",
    "NeighborsToCandidates",
    "NeighborsToRecall",
    "NeighborsToVotes",
    "RefsToDescriptions",
    "ShardsToNeighbors",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return getattr(importlib.import_module(f"{__name__}.{module[1:]}"), name)
