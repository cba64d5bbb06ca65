"""`copydetect benchmark plan`: what a search of a given size costs, from measured unit rates."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from copydetect.errors import InputError, OptionError
from copydetect.index.partitions import IndexOptions, lists_for
from copydetect.options import EngineOptions

from .file_counts import FEATURES, SearchedIndex, file_counts

_RESULT_BYTES = 20
_ID_BYTES = 12
_SECONDS_PER_HOUR = 3600.0
_LARGE = 100_000


@dataclass(frozen=True)
class Work:
    """The work of a self-join in counts: vectors, comparisons of components, and bytes.

    coarse: components compared to find lists; scanned: components compared in lists.
    """

    vectors: int
    dimension: int
    lists: int
    shards: int
    coarse: float
    scanned: float
    stored_bytes: float
    shuffled_bytes: float


@dataclass(frozen=True)
class Rates:
    """Seconds of one core, from measured runs.

    vector: to read, code and write a vector; coarse: a billion components compared to find lists;
    scanned: a billion components compared in lists.
    """

    vector: float
    coarse: float
    scanned: float

    def index_seconds(self, work: Work) -> float:
        """Of building the index: each vector is routed once."""
        return self.vector * work.vectors + self.coarse * work.coarse / 1e9

    def search_seconds(self, work: Work, routed_again: bool) -> float:
        """Of the self-join; routed_again: whether queries are other vectors than references."""
        again = work.coarse if routed_again else 0.0
        return (self.scanned * work.scanned + self.coarse * again) / 1e9


def work_of(
    vectors: int,
    dimension: int,
    probes: int,
    copies: float,
    options: IndexOptions,
    k: int,
    searches: int = 1,
) -> Work:
    """Count what a self-join does. copies: shards that a query visits, on average; searches: how
    often each vector is a query, as local features are, upright and mirrored."""
    lists = lists_for(vectors, options)
    code = options.coding.bytes(dimension)
    stored = vectors * (code + 8)
    shards = options.shards or max(1, math.ceil(stored / options.shard_bytes))
    copies = min(copies, shards, probes)
    query = 2 * dimension + 8 + 4 * probes
    shuffled = vectors * (code + _ID_BYTES + searches * copies * (query + k * _RESULT_BYTES))
    coarse = vectors * lists * dimension
    scanned = searches * vectors * probes * (vectors / lists) * dimension
    return Work(vectors, dimension, lists, shards, float(coarse), float(scanned), stored, shuffled)


def fit_rates(runs: Sequence[Mapping[str, Any]], dimension: int) -> Rates:
    """Rates from the runs that `benchmark search` measured, in CPU seconds.

    Sizes hardly tell apart what goes by vector and what by comparison, so nothing is fitted, and
    the plan errs to the expensive side. A search is taken to be nothing but comparisons, at the
    worst rate of the runs of 100,000 vectors or more; indexing to be nothing but finding lists in
    the largest run, and to have no such part in the smallest.
    """
    large = sorted(_large(runs), key=lambda run: float(run["vectors"]))
    works = [_measured_work(run, dimension) for run in large]
    indexing = [_index_seconds(run) for run in large]
    pairs = zip(large, works, strict=True)
    return Rates(
        indexing[0] / works[0].vectors,
        indexing[-1] / works[-1].coarse * 1e9,
        max(run["search_cpu_seconds"] / work.scanned for run, work in pairs) * 1e9,
    )


def feature_work(
    run: Mapping[str, Any], features: int, copies: float, lists: int = 0, shards: int = 0
) -> Work:
    """What the search of local features does, upright and mirrored; run: a measured one."""
    options = IndexOptions(codes="PQ16", metric="l2", lists=lists, shards=shards)
    return work_of(features, run["dimension"], run["probes"], copies, options, run["k"], 2)


def feature_rates(run: Mapping[str, Any]) -> Rates:
    """Rates of the search of local features from one run, as `fit_rates` finds them."""
    work = feature_work(run, run["features"], run["shards"], run["lists"], run["shards"])
    return Rates(
        run["index_cpu_seconds"] / work.vectors,
        run["index_cpu_seconds"] / work.coarse * 1e9,
        run["search_cpu_seconds"] / work.scanned * 1e9,
    )


def _large(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Runs whose fixed costs don't count; all where there are none."""
    return [run for run in runs if run["vectors"] >= _LARGE] or list(runs)


def _index_seconds(run: Mapping[str, Any]) -> float:
    return float(run["cpu_seconds"] - run["train_cpu_seconds"] - run["search_cpu_seconds"])


def _measured_work(run: Mapping[str, Any], dimension: int) -> Work:
    options = IndexOptions(codes=run["codes"], lists=run["lists"], shards=run["shards"])
    return work_of(run["vectors"], dimension, run["probes"], run["shards"], options, run["k"])


def run(arguments: Namespace, engine: EngineOptions) -> None:
    """Print the plan, and how well the rates explain the measured runs."""
    measured = _read_measured(Path(arguments.measured))
    images = image_count(arguments.images)
    options = IndexOptions(codes=arguments.codes, lists=arguments.lists)
    runs, copies = measured["curve"], arguments.copies
    rates = fit_rates(runs, arguments.measured_dim)
    print(check_table(runs, rates, arguments.measured_dim))
    probes = arguments.probes or max(runs, key=lambda run: run["vectors"])["probes"]
    vectors = images * arguments.views
    work = work_of(vectors, arguments.dim, probes, copies, options, arguments.k)
    head = f"{vectors:,} descriptors of {arguments.dim} components, codes {arguments.codes}"
    print(head, plan_text(work, rates, probes, arguments.cores), sep="\n")
    indexes = [SearchedIndex("descriptors", work.lists, work.shards)]
    for one in measured.get("features", []):
        features = round(images * one["features"] / one["images"])
        work = feature_work(one, features, copies)
        head = f"{features:,} local features of {one['dimension']} components, upright and mirrored"
        print(head, plan_text(work, feature_rates(one), one["probes"], arguments.cores), sep="\n")
        indexes.append(replace(FEATURES, lists=work.lists, shards=work.shards))
    print(files_text(images, indexes))


def image_count(text: str) -> int:
    """The number behind `--images`, which may be 1e9; OptionError where it is none."""
    try:
        count = round(float(text))
    except ValueError as error:
        raise OptionError(f"--images must be a number, like 1e9: {text!r}") from error
    if count < 1:
        raise OptionError(f"--images must be at least 1: {text}")
    return count


def _read_measured(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        measured: dict[str, list[dict[str, Any]]] = json.loads(path.read_text())
        runs = measured["curve"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a search.json of `benchmark search`: {error}") from error
    if len(runs) < 2:
        raise InputError(f"{path} has {len(runs)} runs; rates need at least two sizes")
    return measured


def check_table(runs: Sequence[Mapping[str, Any]], rates: Rates, dimension: int) -> str:
    """Measured and explained CPU seconds of each run, as Markdown."""
    rows = [
        "| vectors | index CPU s | by rates | search CPU s | by rates | rates over measured |",
        "|---|---|---|---|---|---|",
    ]
    for run in runs:
        work = _measured_work(run, dimension)
        index, search = rates.index_seconds(work), rates.search_seconds(work, False)
        indexed, searched = _index_seconds(run), run["search_cpu_seconds"]
        rows.append(
            f"| {run['vectors']:,} | {indexed:.1f} | {index:.1f} | {searched:.1f} | {search:.1f} "
            f"| {(index + search) / (indexed + searched):.2f} |"
        )
    return "\n".join(rows)


def plan_text(work: Work, rates: Rates, probes: int, cores: int) -> str:
    """The plan, and what drives its cost."""
    index, search = rates.index_seconds(work), rates.search_seconds(work, True)
    drivers = {
        "finding lists, twice": 2 * rates.coarse * work.coarse / 1e9,
        "comparing in lists": rates.scanned * work.scanned / 1e9,
        "reading, coding, writing": work.vectors * rates.vector,
    }
    sample = min(work.vectors, work.lists * IndexOptions().training_per_list, 1 << 22)
    lines = [
        f"lists            {work.lists:,}, {work.vectors / work.lists:.0f} vectors each",
        f"probes           {probes}, {probes * work.vectors / work.lists:,.0f} vectors compared",
        f"shards           {work.shards:,} of {work.stored_bytes / work.shards / 1e6:.0f} MB",
        f"stored           {_bytes(work.stored_bytes)}",
        f"shuffled         {_bytes(work.shuffled_bytes)}, through files",
        f"training         {sample:,} vectors, {_bytes(4.0 * sample * work.dimension)}, one worker",
        f"index            {index / _SECONDS_PER_HOUR:,.2f} core-hours",
        f"search           {search / _SECONDS_PER_HOUR:,.2f} core-hours",
        f"wall             {(index + search) / cores / _SECONDS_PER_HOUR:,.2g} hours "
        f"on {cores} cores",
    ]
    lines += [
        f"  {seconds / (index + search):5.0%}  {name}"
        for name, seconds in sorted(drivers.items(), key=lambda item: -item[1])
    ]
    return "\n".join(lines)


def files_text(images: int, indexes: Sequence[SearchedIndex]) -> str:
    """How many files the steps of a run read and write, the most first."""
    steps = file_counts(images, indexes)
    total = sum(one.files for one in steps)
    head = f"{total:,} files are read or written, those of the input aside"
    steps = sorted(steps, key=lambda one: -one.files)
    return "\n".join([head, *(f"  {one.files / total:5.0%}  {one.step}" for one in steps)])


def _bytes(size: float) -> str:
    power = min(int(math.log(max(size, 1), 1000)), 5)
    return f"{size / 1000**power:.3g} {['B', 'kB', 'MB', 'GB', 'TB', 'PB'][power]}"
