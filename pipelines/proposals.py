"""The search of both channels: what candidates are made of."""

from __future__ import annotations

from collections.abc import Mapping

from copydetect.candidates.candidate_job import Proposals
from copydetect.description.views import VIEW_NAMES
from copydetect.parts import Sides
from copydetect.search.neighbors import saturated_queries
from copydetect.settings import Settings

from . import stages
from .quality import feature_quality, search_quality
from .stages import Workplace


def proposals_of(
    place: Workplace, settings: Settings, models: Mapping[str, str], sides: Sides
) -> Proposals:
    """Search by every channel of the settings. models: identities of what described the images."""
    neighbors: list[str] = []
    votes: list[str] = []
    if "descriptor" in settings.channels:
        searching = settings.descriptor_search(sides.symmetric)
        index, model = settings.descriptor_index, models["descriptor"]
        neighbors = stages.search_descriptors(place, sides, index, searching, model)
    if "local" in settings.channels:
        searching = settings.feature_search(sides.symmetric)
        voting = settings.voting(sides.symmetric)
        votes = stages.search_keypoints(place, sides, settings.feature_index, searching, voting)
    return Proposals(neighbors=tuple(neighbors), votes=tuple(votes), sides=sides, views=VIEW_NAMES)


def quality_of(place: Workplace, settings: Settings, proposals: Proposals) -> dict[str, float]:
    """What the search of descriptors loses, and that of local features, for the manifest."""
    sides = proposals.sides
    quality: dict[str, float] = {}
    if "descriptor" in settings.channels:
        searching = settings.descriptor_search(sides.symmetric)
        quality = search_quality(place, sides, proposals.neighbors, searching)
        # An image whose list is full of likely copies may have more, which only other images' lists
        # show.
        capped = saturated_queries(place.storage, proposals.neighbors)
        quality["search_capped_queries"] = float(capped)
    if "local" in settings.channels:
        searching = settings.feature_search(sides.symmetric)
        quality |= feature_quality(place, sides, searching)
    return quality
