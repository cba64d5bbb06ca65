"""The vectors, tables and rates of the search benchmarks, against what is known."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from copydetect.index.partitions import IndexOptions
from copydetect.pipelines.benchmarks import features, plan, search
from copydetect.pipelines.benchmarks.vectors import (
    Planted,
    fit_mixture,
    plant,
    shortened,
    write_vectors,
)
from copydetect.pipelines.commands import benchmark
from copydetect.search.neighbors import Neighbors
from tests.collections_for_search import unit_vectors


def figures(vectors: int, **changes: object) -> search.SearchFigures:
    """A run whose seconds follow from known rates: 1 ms a vector, 5 ns a component."""
    options = IndexOptions(lists=vectors // 256, shards=4)
    work = plan.work_of(vectors, 64, 8, 4, options, 10)
    known = {
        "vectors": vectors,
        "codes": "SQfp16",
        "lists": vectors // 256,
        "probes": 8,
        "shards": 4,
        "k": 10,
        "train_seconds": 1.0,
        "index_seconds": (1e-3 * vectors + 5e-9 * work.coarse) / 2,
        "search_seconds": 5e-9 * work.scanned / 2,
        "peak_memory_gb": 1.0,
        "bytes_per_vector": 136.0,
        "shuffled_bytes_per_vector": 900.0,
        "recall": 0.99,
        "planted": {"0.6": 1.0, "0.7": 1.0, "0.8": 1.0},
        "train_cpu_seconds": 1.0,
        "search_cpu_seconds": 5e-9 * work.scanned,
        "cpu_seconds": 1.0 + 1e-3 * vectors + 5e-9 * (work.coarse + work.scanned),
        "faiss_seconds": 50.0,
        "faiss_cpu_seconds": 90.0,
        "exact_seconds": 900.0,
        "exact_cpu_seconds": 1800.0,
    }
    return search.SearchFigures(**{**known, **changes})


def test_a_sample_of_the_mixture_is_as_near_to_its_source_as_the_source_to_itself() -> None:
    rng = np.random.default_rng(0)
    crowds = np.repeat(unit_vectors(40, 24, seed=3), 50, axis=0)
    source = shortened(crowds + 0.1 * rng.normal(size=crowds.shape), 24)
    sample = fit_mixture(source, components=40, rank=4).sample(2000, rng)
    np.testing.assert_allclose(np.linalg.norm(sample, axis=1), 1, atol=1e-5)
    inside = source[::2] @ source[1::2].T
    across = sample[::2] @ source[1::2].T
    assert abs(np.max(inside, axis=1).mean() - np.max(across, axis=1).mean()) < 0.03
    assert abs(inside.mean() - across.mean()) < 0.03


def test_planted_pairs_have_their_similarity_and_are_counted() -> None:
    vectors = unit_vectors(400)
    planted = plant(vectors, 50, np.random.default_rng(0))
    products = np.einsum("ij,ij->i", vectors[planted.first], vectors[planted.second])
    np.testing.assert_allclose(products, planted.similarity, atol=1e-3)
    assert np.unique(np.concatenate([planted.first, planted.second])).size == 100

    pairs = Planted(np.array([1, 2, 3]), np.array([7, 8, 9]), np.array([0.5, 0.6, 0.6]))
    found = Neighbors(np.array([1, 8]), np.array([9, 2]), np.ones(2, np.float32))
    assert search.planted_found(found, pairs) == {"0.5": 0.0, "0.6": 0.5}
    many = Neighbors(np.array([1, 1, 1, 8]), np.array([9, 4, 2, 2]), np.ones(4, np.float32))
    np.testing.assert_array_equal(search.nearest(many, 2).ids, [9, 4, 2])


def test_vectors_are_written_in_parts_that_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("copydetect.pipelines.benchmarks.vectors.PART_VECTORS", 300)
    files, planted = write_vectors(str(tmp_path), unit_vectors(600), 1000)
    parts = [files(path) for _, path in files.parts()]
    assert [len(ids) for _, ids in parts] == [300, 300, 300, 100]
    np.testing.assert_array_equal(np.concatenate([ids for _, ids in parts]), np.arange(1000))
    vectors = np.concatenate([vectors for vectors, _ in parts])
    products = np.einsum("ij,ij->i", vectors[planted.first], vectors[planted.second])
    np.testing.assert_allclose(products, planted.similarity, atol=2e-3)


def test_rates_are_at_least_those_that_made_the_runs() -> None:
    runs = [asdict(figures(size)) for size in (10_000, 100_000, 1_000_000)]
    runs[1]["search_cpu_seconds"] *= 1.2
    runs[1]["cpu_seconds"] += runs[1]["search_cpu_seconds"] / 6
    rates = plan.fit_rates(runs, 64)
    np.testing.assert_allclose(rates.scanned, 6, rtol=1e-3)
    assert 1e-3 < rates.vector < 2e-3
    assert 5 < rates.coarse < 10
    for line in plan.check_table(runs, rates, 64).splitlines()[2:]:
        _, _, index, explained, searched, too, ratio, _ = (word.strip() for word in line.split("|"))
        assert float(index) <= float(explained)
        assert float(searched) <= float(too)
        assert 1 <= float(ratio) < 2


def test_the_plan_grows_with_the_collection_and_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "search.json"
    path.write_text(json.dumps({"curve": [asdict(figures(size)) for size in (10_000, 100_000)]}))
    hours = []
    for images in ("1e6", "1e8", "1e9"):
        arguments = ["--images", images, "--measured", str(path), "--measured_dim", "64"]
        assert benchmark.main(["plan", *arguments]) == 0
        text = capsys.readouterr().out
        line = next(line for line in text.splitlines() if line.startswith("search"))
        hours.append(float(line.split()[1].replace(",", "")))
    assert "1,000,000,000 descriptors of 256 components" in text
    assert hours[0] < hours[1] / 50 < hours[2] / 500


def test_features_are_joined_and_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    pictures = (
        rng.integers(0, 256, (24, 32, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        for _ in range(6)
    )
    files = features.write_features(str(tmp_path / "features"), pictures)
    codes, ids = files(files.parts()[0][1])
    assert files.images == 6
    assert len(codes) == len(ids) == files.features > 100
    joined = features.join_features(str(tmp_path / "join"), files)
    run = asdict(features.FeatureFigures(**joined))
    assert run["search_cpu_seconds"] > 0
    curve = [asdict(figures(size)) for size in (10_000, 100_000)]
    path = tmp_path / "search.json"
    path.write_text(json.dumps({"curve": curve, "features": [run]}))
    arguments = ["--images", "1e8", "--measured", str(path), "--measured_dim", "64"]
    assert benchmark.main(["plan", *arguments]) == 0
    text = capsys.readouterr().out
    planned = round(1e8 * run["features"] / 6)
    assert f"{planned:,} local features of {run['dimension']} components" in text
    assert f"{round(2.5 * planned**0.5):,}, " in text


@pytest.mark.parametrize("content", [None, "{}", '{"curve": []}', "no json"])
def test_a_plan_without_measured_runs_is_refused(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "search.json"
    if content is not None:
        path.write_text(content)
    assert benchmark.main(["plan", "--images", "1e6", "--measured", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--vectors", "many"], "--vectors must be numbers"),
        (["--vectors", "10"], "at least 1000"),
        (["--codes", "HNSW"], "unknown codes 'HNSW'"),
        ([], "--pictures or --descriptors is needed"),
    ],
)
def test_bad_arguments_of_the_search_benchmark_are_refused(
    tmp_path: Path, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(["search", *arguments, "--output", f"{tmp_path}/out"]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_tables_and_plot_hold_every_run(tmp_path: Path) -> None:
    curve = [figures(10_000), figures(100_000)]
    table = search.curve_table(curve)
    assert table.count("\n") == 3
    assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "| SQfp16 | 136 | 0.9900 |" in search.codes_table(curve, 64)
    search.plot(curve, tmp_path / "search.png")
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")
