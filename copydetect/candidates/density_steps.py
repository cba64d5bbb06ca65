"""The densities of all images of a collection, measured part by part (see `densities`).

lists of a part → those of sampled images → what holds for the whole collection
→ densities of a part → densities of all images, in a file that is mapped
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from copydetect import runs
from copydetect.candidates.candidate_job import CandidateJob
from copydetect.candidates.densities import (
    USUAL_DENSITY,
    Densities,
    nearness,
    similarity_densities,
    vote_densities,
)
from copydetect.candidates.mapped_tables import mapped_rows, write_rows
from copydetect.candidates.pair_spills import FOUND, receive
from copydetect.index.routing import in_sample
from copydetect.index.spills import read_arrays, write_arrays
from copydetect.search.vote_parts import read_votes
from copydetect.types import Floats, Ints

SAMPLED_IMAGES = 65_536
"""About how many images the values for a whole collection are measured on."""

_ORDINARY_VOTES = float(np.log1p(1.0))
"""Density of an image whose list tells nothing of strangers: they get about one unit of votes."""


@dataclass(frozen=True)
class DensityScale:
    """What holds for a whole collection; fields as in `Densities`, one for each channel.

    usual: density of an image that has too few neighbours.
    """

    usual: float = 0.0
    similarity_spread: float = 1.0
    vote_spread: float = 1.0
    unit: float = 0.0


def sampled_lists(
    job: CandidateJob, name: str, query: Ints, values: Floats
) -> dict[str, Ints | Floats]:
    """The lists of sampled images."""
    chosen = in_sample(query, min(1.0, SAMPLED_IMAGES / max(job.proposals.queries.images, 1)))
    return {f"{name}_query": query[chosen], f"{name}_value": values[chosen]}


def scale_step(job: CandidateJob) -> DensityScale:
    """What holds for the whole collection: what is known, or measured on the sample."""
    if job.scale is not None:
        return DensityScale(**job.scale)
    samples = [read_arrays(job.storage, uri)[1] for uri in job.uris("sample")]
    scale = DensityScale()
    if job.proposals.described:
        number, scores, images = _lists(samples, "found")
        nothing = np.full(images, np.inf, np.float32)
        found = similarity_densities(number, scores, images, fallback=nothing)
        known = found.values[np.isfinite(found.values)]
        usual = float(np.median(known)) if len(known) else USUAL_DENSITY
        scale = replace(scale, usual=usual, similarity_spread=found.spread)
    if job.proposals.votes:
        number, votes, images = _lists(samples, "voted")
        nobody = np.zeros(images, np.bool_) if job.proposals.described else None
        voted = vote_densities(number, votes, images, may_be_crowded=nobody)
        scale = replace(scale, vote_spread=voted.spread, unit=voted.unit)
    return scale


def _lists(samples: Sequence[dict[str, Floats]], name: str) -> tuple[Ints, Floats, int]:
    """Sampled lists of images that are numbered 0, 1, …, and how many images that are."""
    query, values = (
        np.concatenate([sample[f"{name}_{column}"] for sample in samples])
        for column in ("query", "value")
    )
    images, number = np.unique(query, return_inverse=True)
    return number.astype(np.int64), values, len(images)


def crowd_step(job: CandidateJob, part: int, scale: DensityScale) -> None:
    """Measure how crowded it is around the images of a part."""
    side = job.proposals.queries
    start, images = int(side.starts[part]), side.image_counts[part]
    crowds = np.zeros((images, 6), np.float32)
    if job.proposals.described:
        sent = [job.uri("found", part, "spill")]
        found = receive(job.storage, sent, job.block_of(part), FOUND).records
        full = found["query"][found["crowd"]] - start
        listed = found[found["searched"] | found["crowd"]]
        found = found[found["searched"]]
        usual = np.full(images, scale.usual, np.float32)
        one = similarity_densities(found["query"] - start, found["score"], images, fallback=usual)
        crowds[:, 0], crowds[:, 1], crowds[:, 4] = one.values, one.floors, one.crowd
        crowds[full, 4] = np.inf
        crowds[:, 5] = nearness(listed["query"] - start, listed["score"], images)
    if job.proposals.votes:
        voted = read_votes(job.storage, job.proposals.votes[part])
        crowded = crowds[:, 4] > 0 if job.proposals.described else None
        other = vote_densities(voted.query - start, voted.votes, images, scale.unit, crowded)
        crowds[:, 2], crowds[:, 3] = other.values, other.floors
        if not job.proposals.described:
            members = voted.families - start
            crowds[members, 2] = _ORDINARY_VOTES
            crowds[:, 3] = np.minimum(crowds[:, 3], crowds[:, 2])
            crowds[members, 4] = np.inf
            crowds[:, 5] = nearness(voted.query - start, voted.votes, images)
    write_arrays(job.storage, job.uri("crowds", part), part, crowds=crowds)


def densities_step(job: CandidateJob) -> None:
    """Gather the densities of all images in a file that is mapped: 24 bytes per image."""
    pieces = (read_arrays(job.storage, uri)[1]["crowds"] for uri in job.uris("crowds"))
    shape = (job.proposals.queries.images, 6)
    write_rows(job.storage, runs.join(job.scratch, "densities.npy"), shape, np.float32, pieces)


def densities_of(
    job: CandidateJob, scale: DensityScale
) -> tuple[Densities | None, Densities | None]:
    crowds = mapped_rows(job.storage, runs.join(job.scratch, "densities.npy"))
    described, voted = job.proposals.described, bool(job.proposals.votes)
    spreads = scale.similarity_spread, scale.vote_spread
    # Of local features it is their own only where descriptors tell none.
    crowd, nobody = crowds[:, 4], np.zeros(len(crowds), np.float32)
    of_votes = nobody if described else crowd
    return (
        Densities(crowds[:, 0], crowds[:, 1], spreads[0], crowd) if described else None,
        Densities(crowds[:, 2], crowds[:, 3], spreads[1], of_votes, scale.unit) if voted else None,
    )


def nearness_of(job: CandidateJob) -> Floats:
    """(images,) float32: `densities.nearness` of all images."""
    crowds: Floats = mapped_rows(job.storage, runs.join(job.scratch, "densities.npy"))[:, 5]
    return crowds
