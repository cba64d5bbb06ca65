"""What an index is made of: vectors and ids of both channels, read from part files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from copydetect import tables
from copydetect.description.keypoints import (
    load_quantiser,
    mirror_geometry,
)
from copydetect.index.channels import (
    MIRRORED,
    DescriptorReader,
    KeypointReader,
    StoredKeypoints,
    feature_ids,
    image_numbers,
    read_keypoints,
)
from copydetect.parts import RoleParts
from copydetect.types import ImageRow, Keypoints
from tests.conftest import STORAGE

NAMES = (["a", "b"], ["c", "d", "e"])
WEIGHTS = np.array([0.1, 0.2, 0.3, 0.4], np.float32)


def unit_rows(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture
def images(tmp_path: Path) -> tuple[str, ...]:
    uris = []
    for part, names in enumerate(NAMES):
        rows = [
            ImageRow(name, "image", name, "", None, "JPEG", 4, 3, 10, None, None, "ok")
            for name in names
        ]
        uris.append(str(tmp_path / f"images-{part}.parquet"))
        tables.write_table(STORAGE, uris[-1], tables.rows_to_table(rows, tables.IMAGES))
    return tuple(uris)


@pytest.fixture
def descriptors(tmp_path: Path, images: tuple[str, ...]) -> RoleParts:
    """Part 0: a; part 1: two views of c, one of e. b and d have none."""
    uris = []
    seen = (["whole"], ["whole", "on-black", "whole"])
    for part, (names, views) in enumerate(zip((["a"], ["c", "c", "e"]), seen, strict=True)):
        count = len(names)
        vectors = pa.array(unit_rows(count, part).reshape(-1))
        table = pa.table(
            {
                "image_id": names,
                "view": views,
                "vector": pa.FixedSizeListArray.from_arrays(vectors, 8),
                "weight": WEIGHTS[part : part + count],
                "model": ["m"] * count,
            },
            schema=tables.descriptors(8),
        )
        uris.append(str(tmp_path / f"descriptors-{part}.parquet"))
        tables.write_table(STORAGE, uris[-1], table)
    return RoleParts(images, (2, 3), descriptors=tuple(uris))


def keypoints(name: str, count: int) -> Keypoints:
    rng = np.random.default_rng(count)
    geometry = {f: rng.integers(0, 256, count, np.uint8) for f in ("x", "y", "scale", "angle")}
    codes = rng.integers(0, 256, (count, load_quantiser().code_bytes), np.uint8)
    return Keypoints(name, 224, 168, **geometry, codes=codes, model="q")


def keypoint_table(features: list[Keypoints]) -> pa.Table:
    columns = {name: [getattr(one, name) for one in features] for name in tables.KEYPOINTS.names}
    columns["codes"] = [one.codes.tobytes() for one in features]
    return pa.table(columns, schema=tables.KEYPOINTS)


def test_ids_are_the_number_of_the_image_and_which_of_its_views(descriptors: RoleParts) -> None:
    read = DescriptorReader(STORAGE, descriptors)
    assert read(read.uris[0])[1].tolist() == [0]
    assert read(read.uris[1])[1].tolist() == [2 << 32, 2 << 32 | 1, 4 << 32]


def test_vectors_weights_and_ids_belong_together(descriptors: RoleParts) -> None:
    read = DescriptorReader(STORAGE, descriptors)
    vectors, weights, ids = read.weighted(read.uris[1])
    assert ids.tolist() == [2 << 32, 2 << 32 | 1, 4 << 32]
    np.testing.assert_array_equal(weights, WEIGHTS[1:4])
    np.testing.assert_array_equal(vectors, unit_rows(3, 1))
    np.testing.assert_array_equal(read(read.uris[1])[0], vectors)


def test_image_numbers_follow_the_rows_of_images(descriptors: RoleParts) -> None:
    found = image_numbers(STORAGE, descriptors, 1, ["e", "c", "d", "e"])
    assert found.tolist() == [4, 2, 3, 4]


def test_keypoints_survive_their_table() -> None:
    features = [keypoints("c", 5), keypoints("d", 0), keypoints("e", 3)]
    for one, other in zip(read_keypoints(keypoint_table(features)), features, strict=True):
        for name, value in vars(other).items():
            np.testing.assert_array_equal(getattr(one, name), value)
            assert np.asarray(getattr(one, name)).dtype == np.asarray(value).dtype


def test_a_features_id_holds_its_geometry() -> None:
    points = keypoints("c", 9)
    for mirrored, geometry in (
        (False, (points.x, points.y, points.scale, points.angle)),
        (True, mirror_geometry(points)),
    ):
        ids = feature_ids(70_000, points, mirrored)
        assert (ids >> 32).tolist() == [70_000] * 9
        for shift, values in zip((24, 16, 8, 0), geometry, strict=True):
            np.testing.assert_array_equal(ids >> shift & 255, values)


def test_a_part_of_keypoints_upright_and_mirrored(tmp_path: Path, images: tuple[str, ...]) -> None:
    features = [keypoints("c", 5), keypoints("d", 0), keypoints("e", 3)]
    uris = tuple(str(tmp_path / f"keypoints-{part}.parquet") for part in range(2))
    tables.write_table(STORAGE, uris[0], keypoint_table([]))
    tables.write_table(STORAGE, uris[1], keypoint_table(features))
    files = RoleParts(images, (2, 3), keypoints=uris)
    codes, ids = KeypointReader(STORAGE, files)(uris[1])
    np.testing.assert_array_equal(codes, np.concatenate([one.codes for one in features]))
    assert (ids >> 32).tolist() == [2] * 5 + [4] * 3
    quantiser = load_quantiser()
    twice, both = KeypointReader(STORAGE, files, both=True)(uris[1])
    np.testing.assert_array_equal(twice, np.concatenate([codes, codes]))
    np.testing.assert_array_equal(both[:8], ids)
    np.testing.assert_array_equal(both[8:13] ^ MIRRORED, feature_ids(2, features[0], mirrored=True))
    nothing, no_ids = KeypointReader(STORAGE, files)(uris[0])
    assert (nothing.shape, no_ids.shape) == ((0, quantiser.code_bytes), (0,))


def test_the_features_of_single_images(tmp_path: Path, images: tuple[str, ...]) -> None:
    features = [keypoints(name, 3 + row) for row, name in enumerate("edc")]
    uris = tuple(str(tmp_path / f"keypoints-{part}.parquet") for part in range(2))
    tables.write_table(STORAGE, uris[0], keypoint_table([keypoints("a", 2)]), rows_together=2)
    tables.write_table(STORAGE, uris[1], keypoint_table(features), rows_together=2)
    stored = StoredKeypoints(STORAGE, RoleParts(images, (2, 3), keypoints=uris))
    for number, name in ((4, "e"), (0, "a"), (2, "c"), (3, "d"), (2, "c")):
        found = stored.of(number, name)
        assert found is not None
        assert found.image_id == name
        (expected,) = (one for one in [keypoints("a", 2), *features] if one.image_id == name)
        np.testing.assert_array_equal(found.codes, expected.codes)
    assert stored.of(1, "b") is None, "it has no row"


def test_parts_are_numbered() -> None:
    files = RoleParts(("i", "j"), (3, 2), descriptors=("c", "d"), keypoints=("k", "l"))
    assert DescriptorReader(STORAGE, files).numbered() == [(0, "c"), (1, "d")]
    assert KeypointReader(STORAGE, files).numbered() == [(0, "k"), (1, "l")]
    assert files.starts.tolist() == [0, 3, 5]
    assert files.parts_of(np.array([0, 2, 3, 4])).tolist() == [0, 0, 1, 1]
    assert set(files.tables) == {"images", "descriptors", "keypoints"}
