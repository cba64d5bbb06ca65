"""The stages that search by both channels, and those that measure what the search misses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from copydetect import runs
from copydetect.candidates.candidate_job import Proposals
from copydetect.index.channels import DescriptorReader, KeypointReader
from copydetect.parts import FeatureCount, RowCounts, Sides
from copydetect.search.recall import Recall
from copydetect.search.recall_job import RecallJob, read_recalls
from copydetect.settings import Settings
from copydetect.transforms.descriptors_to_neighbors import DescriptorSearch
from copydetect.transforms.keypoints_to_votes import KeypointSearch
from copydetect.transforms.neighbors_to_recall import NeighborsToRecall

from . import stages
from .chains import Stage
from .progress import Progress
from .stages import Workplace

DESCRIPTORS, KEYPOINTS = "descriptors", "keypoints"
_RANKS = (1, 10)


def searching(
    place: Workplace, settings: Settings, models: Mapping[str, str], sides: Sides
) -> tuple[list[Stage[Any]], Proposals]:
    """The stages that search by each channel of the settings, and the proposals that they make.

    models: identities of what described the images.
    """
    found: list[Stage[Any]] = []
    if "descriptor" in settings.channels:
        descriptors = DescriptorSearch.of(place, sides, settings, models["descriptor"])
        found.append(stages.search_descriptors(place, descriptors))
    if "local" in settings.channels:
        keypoints = KeypointSearch.of(place, sides, settings)
        found.append(stages.search_keypoints(place, keypoints))
    return found, place.proposals(sides, settings.channels)


def measuring(place: Workplace, jobs: Mapping[str, RecallJob]) -> list[Stage[RecallJob]]:
    """The stages that measure what the searches miss."""
    return [_measuring(place, f"recall of {name}", job) for name, job in jobs.items()]


def _measuring(place: Workplace, name: str, job: RecallJob) -> Stage[RecallJob]:
    measure = NeighborsToRecall(job, place.processes(len(job.asked.uris)))
    return Stage(name, lambda start: start | measure, job, Progress(name))


def recall_jobs(place: Workplace, settings: Settings, sides: Sides) -> dict[str, RecallJob]:
    """How the recall of each search is measured, by what is searched."""
    storage, symmetric = place.storage, sides.symmetric
    jobs = {}
    if "descriptor" in settings.channels:
        images, others = (DescriptorReader(storage, side) for side in sides)
        jobs[DESCRIPTORS] = RecallJob(
            storage,
            images,
            others,
            queries=partial(
                sum, RowCounts(storage, images.uris, images.files.noted, "descriptors")
            ),
            searched=place.searched(DESCRIPTORS),
            index_folder=runs.join(place.index, DESCRIPTORS),
            options=settings.descriptor_search(symmetric),
            ranks=_RANKS,
            folder=runs.join(place.folder, "search", "quality", DESCRIPTORS),
        )
    if "local" in settings.channels:
        options = settings.feature_search(symmetric)
        asked, sought = (KeypointReader(storage, side) for side in sides)
        jobs[KEYPOINTS] = RecallJob(
            storage,
            asked,
            sought,
            queries=FeatureCount(storage, asked.uris, asked.files.noted),
            searched=place.searched(KEYPOINTS),
            index_folder=runs.join(place.index, KEYPOINTS),
            options=options,
            # A copy has many features, and is found by a few: of as many as vote.
            ranks=(options.k,),
            folder=runs.join(place.folder, "search", "quality", KEYPOINTS),
        )
    return jobs


def quality_of(jobs: Mapping[str, RecallJob], saturated: int) -> dict[str, float]:
    """The recall of both searches and what they lose, for the manifest. saturated: how many queries
    of descriptors have a full list."""
    quality: dict[str, float] = {}
    if DESCRIPTORS in jobs:
        recalls = read_recalls(jobs[DESCRIPTORS])
        if not recalls:
            quality = {f"search_recall_at_{k}": 1.0 for k in _RANKS} | {"search_copies_lost": 0.0}
        for k, recall in recalls.items():
            quality["search_recall_queries"] = float(recall.queries)
            quality |= _figures(f"search_recall_at_{k}", recall)
        # An image whose list is full of likely copies may have more, which only other images' lists
        # show.
        quality["search_capped_queries"] = float(saturated)
    if KEYPOINTS in jobs:
        for recall in read_recalls(jobs[KEYPOINTS]).values():
            quality |= _figures("feature_recall", recall)
    return quality


def _figures(name: str, recall: Recall) -> dict[str, float]:
    low, high = recall.interval
    return {name: recall.value, f"{name}_low": low, f"{name}_high": high}
