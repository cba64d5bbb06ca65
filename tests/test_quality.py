"""The recall that a run states for its search, against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from apache_beam import Create

from copydetect import runs, tables
from copydetect.description.keypoints import load_quantiser, reconstruct
from copydetect.index.channels import (
    MIRRORED,
    DescriptorReader,
    KeypointReader,
    feature_ids,
    read_keypoints,
)
from copydetect.index.partitions import IndexOptions
from copydetect.options import EngineOptions
from copydetect.parts import Sides
from copydetect.pipelines import stages
from copydetect.pipelines.engine import engine_of
from copydetect.pipelines.stages import Workplace
from copydetect.search.neighbors import Neighbors, read_neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.recall import Recall
from copydetect.search.recall_job import RecallJob, read_recalls
from copydetect.storage.files import LocalStorage
from copydetect.transforms.descriptors_to_neighbors import DescriptorSearch
from copydetect.transforms.keypoints_to_votes import KeypointSearch
from copydetect.transforms.neighbors_to_recall import NeighborsToRecall
from copydetect.types import ImageRow

IMAGES, PARTS, DIMENSION = 900, 3, 16


def described(folder: Path) -> tuple[Workplace, np.ndarray]:
    """A collection of random descriptors, in parts."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(IMAGES, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    place = Workplace(LocalStorage(), str(folder), engine_of(EngineOptions()))
    for part, rows in enumerate(np.array_split(np.arange(IMAGES), PARTS)):
        names = [f"{row}.jpg" for row in rows]
        images = [
            ImageRow(name, "image", name, "", f"{row:064x}", "JPEG", 9, 9, 9, None, None, "ok")
            for row, name in zip(rows, names, strict=True)
        ]
        flat = pa.array(vectors[rows].astype(np.float16).ravel())
        columns = {
            "image_id": names,
            "view": ["whole"] * len(rows),
            "vector": pa.FixedSizeListArray.from_arrays(flat, DIMENSION),
            "weight": np.ones(len(rows), np.float32),
            "model": ["random"] * len(rows),
        }
        uris = [place.part_uris(name, "image", PARTS)[part] for name in ("images", "descriptors")]
        tables.write_table(place.storage, uris[0], tables.rows_to_table(images, tables.IMAGES))
        table = pa.table(columns, schema=tables.descriptors(DIMENSION))
        tables.write_table(place.storage, uris[1], table)
    return place, vectors


@pytest.mark.parametrize("probes", [2, 12])
def test_recall_of_a_run_is_that_of_brute_force(tmp_path: Path, probes: int) -> None:
    place, vectors = described(tmp_path)
    files = place.described("image", PARTS, ("descriptor",))
    sides = Sides(files, files)
    options = SearchOptions(k=30, exclude="image")
    index = IndexOptions(codes="Flat", lists=12, probes=probes)
    index_folder, folder = f"{place.index}/descriptors", place.searched("descriptors")
    search = DescriptorSearch(place.storage, sides, index_folder, folder, index, options)
    neighbors = place.run(stages.search_descriptors(place, search), PARTS)
    reader = DescriptorReader(place.storage, files)
    recalls = measured(place, "descriptors", reader, options, (1, 10))
    if probes == 12:
        assert recalls == {}
        return
    found = [read_neighbors(place.storage, uri) for uri in neighbors]
    pairs = {
        (int(a) >> 32, int(b) >> 32)
        for one in found
        for a, b in zip(one.queries, one.ids, strict=True)
    }
    halves = vectors.astype(np.float16).astype(np.float32)
    scores = halves @ halves.T
    np.fill_diagonal(scores, -1)
    nearest = np.argsort(-scores, axis=1)[:, :10]
    hits = [(row, int(other)) in pairs for row in range(IMAGES) for other in nearest[row]]
    assert 0.2 < np.mean(hits) < 0.95
    assert sorted(recalls) == [1, 10]
    assert recalls[10].value == pytest.approx(np.mean(hits), abs=0.06)
    assert 200 < recalls[10].queries < 400


def measured(
    place: Workplace,
    index: str,
    reader: DescriptorReader | KeypointReader,
    options: SearchOptions,
    ranks: tuple[int, ...],
) -> dict[int, Recall]:
    """What the search of a collection for itself finds of what there is, by k."""
    job = RecallJob(
        place.storage,
        reader,
        reader,
        queries=lambda: IMAGES if isinstance(reader, DescriptorReader) else FEATURED * EACH,
        searched=runs.join(place.folder, "search", index),
        index_folder=runs.join(place.index, index),
        options=options,
        ranks=ranks,
        folder=runs.join(place.folder, "quality"),
    )
    place.engine.run("recall", lambda pipeline: pipeline | Create([0]) | NeighborsToRecall(job))
    return read_recalls(job)


def detected(folder: Path) -> tuple[Workplace, np.ndarray]:
    """A collection of random local features, in parts; their reconstructed vectors, by image."""
    place = Workplace(LocalStorage(), str(folder), engine_of(EngineOptions()))
    vectors = []
    for part, rows in enumerate(np.array_split(np.arange(FEATURED), PARTS)):
        images, features = [], []
        for row in rows.tolist():
            rng = np.random.default_rng(row)
            geometry = {n: rng.integers(0, 256, EACH, np.uint8) for n in GEOMETRY}
            codes = rng.integers(0, 256, (EACH, load_quantiser().code_bytes), np.uint8)
            name = f"{row}.jpg"
            features.append({"image_id": name, **geometry, "codes": codes.tobytes()})
            features[-1] |= {"width_px": 224, "height_px": 168, "model": "q"}
            digest = f"{row:064x}"
            images.append(
                ImageRow(name, "image", name, "", digest, "JPEG", 9, 9, 9, None, None, "ok")
            )
            vectors.append(reconstruct(codes, load_quantiser()))
        uris = [place.part_uris(name, "image", PARTS)[part] for name in ("images", "keypoints")]
        tables.write_table(place.storage, uris[0], tables.rows_to_table(images, tables.IMAGES))
        columns = {name: [one[name] for one in features] for name in tables.KEYPOINTS.names}
        table = pa.table(columns, schema=tables.KEYPOINTS)
        tables.write_table(place.storage, uris[1], table)
    return place, np.stack(vectors)


FEATURED, EACH, GEOMETRY = 60, 40, ("x", "y", "scale", "angle")


def test_recall_of_features_is_that_of_brute_force(tmp_path: Path) -> None:
    place, vectors = detected(tmp_path)
    files = place.described("image", PARTS, ("local",))
    sides = Sides(files, files)
    options = SearchOptions(k=9)
    index = IndexOptions(codes="PQ16", metric="l2", lists=16, probes=2)
    index_folder, folder = f"{place.index}/keypoints", place.searched("keypoints")
    search = KeypointSearch(place.storage, sides, index_folder, folder, index, options)
    place.run(stages.search_keypoints(place, search), PARTS)
    reader = KeypointReader(place.storage, files)
    recalls = measured(place, "keypoints", reader, options, (9,))
    found = [
        read_neighbors(place.storage, uri)
        for uri in place.files(place.folder, "search", "keypoints", "neighbors")
    ]
    found = [upright_of(one) for one in found]
    held = sum(len(one.queries) for one in found)
    flat = vectors.reshape(FEATURED * EACH, -1)
    scores = 2 * flat @ flat.T - np.einsum("nd,nd->n", flat, flat)
    worst = -np.sort(-scores, axis=1)[:, 8] - np.einsum("nd,nd->n", flat, flat)
    ids = np.concatenate([one.queries for one in found])
    order = np.unique(ids, return_inverse=True)[1]
    assert len(np.unique(ids)) == len(flat), "each feature has an id of its own"
    by_image = np.argsort(np.concatenate([_ids(place, row) for row in range(FEATURED)]))
    reached = np.concatenate([one.scores for one in found]) >= worst[by_image][order] - 1e-4
    expected = reached.sum() / (9 * len(flat))
    assert held <= 9 * len(flat)
    assert 0.2 < expected < 0.95
    assert recalls[9].value == pytest.approx(expected, abs=0.06)


def upright_of(found: Neighbors) -> Neighbors:
    """Without what features of mirror images have found."""
    kept = found.queries < MIRRORED
    return Neighbors(found.queries[kept], found.ids[kept], found.scores[kept])


def _ids(place: Workplace, row: int) -> np.ndarray:
    """The ids of the features of an image, in the order of its row."""
    table = tables.read_tables(
        place.storage, place.part_uris("keypoints", "image", PARTS), tables.KEYPOINTS
    )
    (one,) = read_keypoints(table.slice(row, 1))
    return feature_ids(row, one)
