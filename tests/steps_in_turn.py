"""All steps of a stage, one after the other, in this process.

A transform spreads the same steps over workers, and must give the same files.
"""

from __future__ import annotations

from collections.abc import Sequence

from copydetect.candidates.candidate_job import CandidateJob
from copydetect.candidates.density_steps import (
    DensityScale,
    crowd_step,
    densities_step,
    scale_step,
)
from copydetect.candidates.merging import (
    bundle_step,
    bundles_of_found,
    bundles_of_kept,
    collect_step,
    described_step,
    found_step,
    score_step,
    sides_step,
)
from copydetect.index.building import (
    IndexJob,
    bundle_vectors,
    route_step,
    sample_step,
    train_step,
    vector_bundles,
)
from copydetect.index.routing import Part
from copydetect.index.shard_plans import plan_shards, save_plan
from copydetect.index.shards import Index, ShardReader, build_shard, commit_index
from copydetect.search.neighbors import merge_part, search_task, write_floors
from copydetect.search.search_plans import (
    bundle_queries,
    bundle_results,
    plan_search,
    query_bundles,
    result_bundles,
    save_search_plan,
)
from copydetect.search.searching import SearchJob, query_step


def build_index(job: IndexJob, parts: Sequence[Part]) -> Index:
    """Build an index of the parts, or finish one that was begun."""
    partition = train_step(job, [sample_step(job, part) for part in parts])
    spills = [route_step(job, partition, part) for part in parts]
    if job.bundled:
        spills = [bundle_vectors(job, bundle) for bundle in vector_bundles(job, partition)]
    plan = plan_shards(job.storage, spills, partition)
    save_plan(job.storage, job.folder, plan)
    shards = [
        build_shard(job.storage, job.folder, plan, number, partition)
        for number in range(plan.shards)
    ]
    return commit_index(job.storage, job.folder, partition, shards)


def search_index(job: SearchJob, parts: Sequence[Part]) -> list[str]:
    """Search an index for all queries; the neighbours files, one per part, in their order.

    Parts are numbered 0, 1, 2, …
    """
    reader = ShardReader(job.storage, job.index_folder)
    spills, shards = [query_step(job, reader, part) for part in parts], len(reader.index.shards)
    for bundle in query_bundles(job, shards) if job.bundled else ():
        bundle_queries(job, bundle)
    plan = plan_search(job, shards, spills)
    save_search_plan(job.storage, job.folder, plan)
    for wanted in range(job.rounds):
        for task in plan.tasks:
            if task[0] == wanted:
                search_task(job, reader, task)
        for work in result_bundles(plan, wanted) if job.bundled else ():
            bundle_results(job, plan, work)
        for group in plan.groups if job.rounds > 1 else ():
            write_floors(job, plan, group)
    return [merge_part(job, plan, number) for number, _ in parts]


def write_candidates(job: CandidateJob) -> list[str]:
    """All steps, one after the other, in this process; the URIs of the tables, by part."""
    send_found(job)
    return collect_candidates(job, find_densities(job))


def send_found(job: CandidateJob) -> None:
    """The steps that send what was found to the blocks that score it."""
    sides_step(job, [(one, described_step(job, one)) for one in job.described_parts()])
    for part in range(job.proposals.queries.parts):
        found_step(job, part)
    for one in bundles_of_found(job):
        bundle_step(job, one)


def find_densities(job: CandidateJob) -> DensityScale:
    """The steps that tell how crowded it is around images."""
    scale = scale_step(job)
    for part in range(job.proposals.queries.parts):
        crowd_step(job, part, scale)
    densities_step(job)
    return scale


def collect_candidates(job: CandidateJob, scale: DensityScale) -> list[str]:
    """The steps that score pairs and write the tables."""
    for block in range(job.blocks):
        score_step(job, block, scale)
    for one in bundles_of_kept(job):
        bundle_step(job, one)
    return [collect_step(job, part) for part in range(job.proposals.queries.parts)]
