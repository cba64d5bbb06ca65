"""`copydetect benchmark search`: the self-join of a collection, measured against FAISS alone."""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import apache_beam as beam
import faiss
import numpy as np
from loky import cpu_count

from copydetect.errors import OptionError
from copydetect.index.building import IndexJob, sample_step, train_step
from copydetect.index.partitions import IndexOptions, Partition, load_partition
from copydetect.index.shards import load_index
from copydetect.inputs.finding import find_sources
from copydetect.options import EngineOptions
from copydetect.search.neighbors import Neighbors, read_neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.recall import exact_neighbors, recall_of, sample_queries
from copydetect.search.searching import SearchJob
from copydetect.sorted_rows import place_in_run
from copydetect.storage.files import LocalStorage
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors

from ..benchmarks.features import FeatureFigures, join_features, write_features
from ..benchmarks.vectors import (
    Planted,
    VectorFiles,
    decoded,
    describe,
    shortened,
    write_vectors,
)
from ..engine import Engine, engine_of

_NEIGHBORS = 32
_RECALL_AT = 10
_FLAT_QUERIES = 1024
_RECALL_QUERIES = 500
_STORAGE = LocalStorage()


@dataclass(frozen=True)
class SearchFigures:
    """What one self-join measured; seconds are wall time, without training where not said.

    k: neighbours of a query; cpu_seconds: of all threads, for training, building and searching,
    which a busy machine changes little; faiss_cpu_seconds: for building and searching;
    exact_seconds, exact_cpu_seconds: of IndexFlatIP over all pairs, from a sample of queries;
    planted: share of planted pairs found, by similarity.
    """

    vectors: int
    codes: str
    lists: int
    probes: int
    shards: int
    k: int
    train_seconds: float
    index_seconds: float
    search_seconds: float
    train_cpu_seconds: float
    search_cpu_seconds: float
    cpu_seconds: float
    peak_memory_gb: float
    bytes_per_vector: float
    shuffled_bytes_per_vector: float
    recall: float
    planted: dict[str, float]
    faiss_seconds: float = float("nan")
    faiss_cpu_seconds: float = float("nan")
    exact_seconds: float = float("nan")
    exact_cpu_seconds: float = float("nan")

    @property
    def seconds(self) -> float:
        """Of building and searching, with training."""
        return self.train_seconds + self.index_seconds + self.search_seconds


def run(arguments: Namespace, engine: EngineOptions) -> None:
    """Measure, print tables, and leave figures, vectors and a plot in the output folder."""
    output = Path(arguments.output)
    sizes, options = _sizes(arguments.vectors), _codes(arguments.codes)
    real = shortened(_descriptors(arguments, output), arguments.dim)
    measured: dict[str, list[Any]] = {"curve": [], "codes": [], "features": []}
    for size in sizes:
        measured["curve"].append(_measure(output, real, size, IndexOptions(), True))
        _save(output, measured)
    for coded in options:
        measured["codes"].append(_measure(output, real, arguments.codes_vectors, coded, False))
        _save(output, measured)
    if arguments.features and arguments.pictures:
        measured["features"].append(_measure_features(output, arguments))
        _save(output, measured)
    curve, codes = measured["curve"], measured["codes"]
    if curve:
        print(curve_table(curve))
    if codes:
        print(codes_table(codes, arguments.dim))
    if len(curve) > 1:
        plot(curve, output / "search.png")


def _sizes(text: str) -> list[int]:
    if not text:
        return []
    try:
        sizes = sorted(round(float(size)) for size in text.split(","))
    except ValueError as error:
        raise OptionError(f"--vectors must be numbers, like 1e4,1e5: {text!r}") from error
    if sizes[0] < 1000:
        raise OptionError(f"--vectors must be at least 1000: {sizes[0]}")
    return sizes


def _codes(text: str) -> list[IndexOptions]:
    return [IndexOptions(codes=name) for name in text.split()]


def _save(output: Path, measured: dict[str, list[Any]]) -> None:
    """Keep what is measured so far: the largest runs come last and take longest."""
    figures = {name: [asdict(one) for one in some] for name, some in measured.items()}
    (output / "search.json").write_text(json.dumps(figures, indent=1))


def _descriptors(arguments: Namespace, output: Path) -> np.ndarray[Any, Any]:
    kept = Path(arguments.descriptors or output / "descriptors.npy")
    if not kept.exists():
        if not arguments.pictures:
            raise OptionError("--pictures or --descriptors is needed")
        described = describe(_STORAGE, arguments.pictures)
        output.mkdir(parents=True, exist_ok=True)
        np.save(kept, described)
    output.mkdir(parents=True, exist_ok=True)
    return np.asarray(np.load(kept), dtype=np.float32)


def _measure(
    output: Path, real: np.ndarray[Any, Any], size: int, options: IndexOptions, compare: bool
) -> SearchFigures:
    """Write the vectors, join them in a process of its own, and compare."""
    files, planted = write_vectors(str(output / f"vectors-{size}"), real, size)
    work = str(output / f"join-{size}-{options.codes}")
    shutil.rmtree(work, ignore_errors=True)
    joined = _in_a_process(_join, work, files, options)
    partition = load_partition(_STORAGE, f"{work}/index/partition.npz")
    search = SearchOptions(k=_RECALL_AT, exclude="self", threads=cpu_count())
    found = _found(work, files)
    queries = sample_queries(files, files.parts(), partition, size, _RECALL_QUERIES)
    exact = exact_neighbors(files, files.parts(), queries, partition, search)
    figures = SearchFigures(
        vectors=size,
        codes=options.codes,
        recall=recall_of(nearest(found, _RECALL_AT), exact, _RECALL_AT).value,
        planted=planted_found(found, planted),
        **joined,
    )
    print(figures, flush=True)
    if compare:
        alone = _in_a_process(_faiss_alone, work, files, figures.probes)
        figures = SearchFigures(**{**asdict(figures), **alone})
        print(figures, flush=True)
    shutil.rmtree(work)
    shutil.rmtree(files.folder)
    return figures


def _measure_features(output: Path, arguments: Namespace) -> FeatureFigures:
    """Join the local features of some pictures, in a process of its own."""
    read = decoded(_STORAGE, find_sources(_STORAGE, arguments.pictures))
    pictures = (pixels for _, pixels in islice(read, arguments.features))
    files = write_features(str(output / "features"), pictures)
    work = str(output / "join-features")
    shutil.rmtree(work, ignore_errors=True)
    figures = FeatureFigures(**_in_a_process(join_features, work, files))
    print(figures, flush=True)
    shutil.rmtree(work)
    shutil.rmtree(files.folder)
    return figures


def _in_a_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run a function in a fresh process, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _join(work: str, files: VectorFiles, options: IndexOptions) -> dict[str, Any]:
    engine: Engine = engine_of(EngineOptions())
    job = IndexJob(_STORAGE, f"{work}/index", files, files.vectors, options, self_probes=0)
    started, started_cpu = time.monotonic(), time.process_time()
    partition = train_step(job, [sample_step(job, part) for part in files.parts()])
    trained, trained_cpu = time.monotonic() - started, time.process_time() - started_cpu
    job = IndexJob(
        _STORAGE, job.folder, files, files.vectors, options, self_probes=partition.probes
    )
    wanted = SearchOptions(k=_NEIGHBORS, exclude="self")
    search = SearchJob(_STORAGE, f"{work}/search", files, job.folder, wanted, job.folder)
    parts = files.parts()
    engine.run("index", lambda p: p | beam.Create(parts) | DescriptorsToShards(job))
    before = time.process_time()
    engine.run("search", lambda p: p | beam.Create(parts) | ShardsToNeighbors(search))
    index = load_index(_STORAGE, job.folder)
    shuffled = sum(
        file.size_bytes
        for folder in (f"{job.folder}/vectors", f"{work}/search/queries", f"{work}/search/results")
        for file in _STORAGE.files_under(folder)
    )
    return {
        "lists": partition.lists,
        "probes": partition.probes,
        "shards": len(index.shards),
        "k": _NEIGHBORS,
        "train_seconds": trained,
        "index_seconds": engine.seconds["index"],
        "search_seconds": engine.seconds["search"],
        "train_cpu_seconds": trained_cpu,
        "search_cpu_seconds": time.process_time() - before,
        "cpu_seconds": time.process_time() - started_cpu,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "bytes_per_vector": index.bytes / files.vectors,
        "shuffled_bytes_per_vector": shuffled / files.vectors,
    }


def _found(work: str, files: VectorFiles) -> Neighbors:
    folder = f"{work}/search/neighbors"
    files_found = _STORAGE.files_under(folder)
    return Neighbors.joined([read_neighbors(_STORAGE, file.uri) for file in files_found])


def nearest(found: Neighbors, k: int) -> Neighbors:
    """The k nearest of each query."""
    return found.take(place_in_run(found.queries) < k)


def planted_found(found: Neighbors, planted: Planted) -> dict[str, float]:
    """Share of the planted pairs that either of the two found, by similarity."""
    pairs = found.queries << 32 | found.ids
    wanted = planted.first << 32 | planted.second, planted.second << 32 | planted.first
    hit = np.isin(wanted[0], pairs) | np.isin(wanted[1], pairs)
    levels = np.unique(planted.similarity)
    return {f"{level:.1f}": float(hit[planted.similarity == level].mean()) for level in levels}


def _faiss_alone(work: str, files: VectorFiles, probes: int) -> dict[str, Any]:
    """One index in one process with the same centroids, codes and probes; and IndexFlatIP."""
    partition = load_partition(_STORAGE, f"{work}/index/partition.npz")
    faiss.omp_set_num_threads(cpu_count())
    started, started_cpu = time.monotonic(), time.process_time()
    index = _plain_index(partition)
    for part in files.parts():
        index.add(files(part[1])[0])
    index.nprobe = probes
    for part in files.parts():
        index.search(files(part[1])[0], _NEIGHBORS + 1)
    alone, alone_cpu = time.monotonic() - started, time.process_time() - started_cpu
    flat = faiss.IndexFlatIP(files.dimension)
    for part in files.parts():
        flat.add(files(part[1])[0])
    queries = files(files.parts()[0][1])[0][:_FLAT_QUERIES]
    started, started_cpu = time.monotonic(), time.process_time()
    flat.search(queries, _NEIGHBORS + 1)
    share = files.vectors / len(queries)
    return {
        "faiss_seconds": alone,
        "faiss_cpu_seconds": alone_cpu,
        "exact_seconds": (time.monotonic() - started) * share,
        "exact_cpu_seconds": (time.process_time() - started_cpu) * share,
    }


def _plain_index(partition: Partition) -> Any:
    """FAISS's own index, with its centroids set: lists and codes are those of the partition."""
    index = partition.new_index()
    faiss.downcast_index(index.quantizer).add(partition.centroids)
    return index


def curve_table(curve: Sequence[SearchFigures]) -> str:
    """The figures by size as Markdown."""
    head = (
        "| vectors | lists | probes | shards | train s | index s | search s | FAISS alone s "
        "| ratio | CPU s | ratio of CPU s | IndexFlatIP CPU s | times faster | peak GB | recall@10 "
        "| planted .7 | B on disk | B shuffled |"
    )
    rows = [
        f"| {f.vectors:,} | {f.lists} | {f.probes} | {f.shards} | {f.train_seconds:.1f} "
        f"| {f.index_seconds:.1f} | {f.search_seconds:.1f} | {f.faiss_seconds:.1f} "
        f"| {(f.index_seconds + f.search_seconds) / f.faiss_seconds:.2f} | {f.cpu_seconds:.0f} "
        f"| {(f.cpu_seconds - f.train_cpu_seconds) / f.faiss_cpu_seconds:.2f} "
        f"| {f.exact_cpu_seconds:.0f} "
        f"| {f.exact_cpu_seconds / f.cpu_seconds:.1f} | {f.peak_memory_gb:.2f} | {f.recall:.4f} "
        f"| {f.planted['0.7']:.4f} | {f.bytes_per_vector:.0f} "
        f"| {f.shuffled_bytes_per_vector:.0f} |"
        for f in curve
    ]
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows])


def codes_table(codes: Sequence[SearchFigures], dimension: int) -> str:
    """The figures by code as Markdown; an id in a list is 8 bytes more."""
    head = "| codes | bytes in lists | recall@10 | planted .6 | planted .8 | queries a CPU second |"
    rows = [
        f"| {f.codes} | {size + 8} | {f.recall:.4f} | {f.planted['0.6']:.4f} "
        f"| {f.planted['0.8']:.4f} | {f.vectors / f.search_cpu_seconds:,.0f} |"
        for f in codes
        for size in [IndexOptions(codes=f.codes).coding.bytes(dimension)]
    ]
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows])


def plot(curve: Sequence[SearchFigures], path: Path) -> None:
    """Draw CPU seconds against size, beside FAISS alone and exact search."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    sizes = [f.vectors for f in curve]
    lines = (
        ("exact_cpu_seconds", "--", "IndexFlatIP, extrapolated"),
        ("faiss_cpu_seconds", "s-", "one FAISS IVF, without training"),
        ("cpu_seconds", "o-", "sharded, with training"),
    )
    for name, style, label in lines:
        axes.loglog(sizes, [getattr(f, name) for f in curve], style, label=label)
    axes.set_xlabel("vectors")
    axes.set_ylabel("self-join, CPU s")
    axes.grid(True, which="both", alpha=0.2)
    axes.legend()
    figure.savefig(path, dpi=150)
