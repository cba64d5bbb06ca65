"""What both channels find of a search's queries, for candidates to be made of."""

from __future__ import annotations

from collections.abc import Mapping

from copydetect.candidates.candidate_job import Proposals, Side
from copydetect.description.views import VIEW_NAMES
from copydetect.search.neighbors import saturated_queries
from copydetect.settings import Settings

from . import stages
from .quality import feature_quality, search_quality
from .stages import Search, Workplace


def proposals_of(
    place: Workplace,
    settings: Settings,
    models: Mapping[str, str],
    search: Search,
    sides: tuple[Side, Side],
) -> Proposals:
    """Search by every channel of the settings. sides: of the queries and of the references."""
    neighbors: list[str] = []
    votes: list[str] = []
    if "descriptor" in settings.channels:
        searching = settings.descriptor_search(search.symmetric)
        index, model = settings.descriptor_index, models["descriptor"]
        neighbors = stages.search_descriptors(place, search, index, searching, model)
    if "local" in settings.channels:
        searching = settings.feature_search(search.symmetric)
        votes = stages.search_keypoints(place, search, settings.feature_index, searching)
    return Proposals(
        neighbors=tuple(neighbors),
        votes=tuple(votes),
        queries=sides[0],
        references=None if search.symmetric else sides[1],
        views=VIEW_NAMES,
    )


def quality_of(
    place: Workplace, settings: Settings, search: Search, proposals: Proposals
) -> dict[str, float]:
    """What the search of descriptors loses, and that of local features, for the manifest."""
    quality: dict[str, float] = {}
    if "descriptor" in settings.channels:
        searching = settings.descriptor_search(search.symmetric)
        quality = search_quality(place, search, proposals.neighbors, searching)
        # With so many likely copies there may be more, which only others' lists can tell.
        capped = saturated_queries(place.storage, proposals.neighbors)
        quality["search_capped_queries"] = float(capped)
    if "local" in settings.channels:
        searching = settings.feature_search(search.symmetric)
        quality |= feature_quality(place, search, searching)
    return quality
