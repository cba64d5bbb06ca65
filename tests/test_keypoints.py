"""Features of a thumbnail: geometry, mirroring, codes, and pictures that have next to none."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from copydetect.description import keypoints as kp
from copydetect.errors import ImageError, ModelError, OptionError
from copydetect.pipelines import recipes
from copydetect.storage.files import LocalStorage
from copydetect.training.keypoint_quantiser import fit_quantiser, write_quantiser
from copydetect.training.pictures import MIN_PICTURES


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Random blocks at several scales: plenty of corners, none of them alike."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for size in (4, 8, 16, 32):
        rows, columns = -(-height // size), -(-width // size)
        blocks = random.uniform(0, 255, (rows, columns, 3))
        total += np.kron(blocks, np.ones((size, size, 1)))[:height, :width]
    return (total / 4).astype(np.uint8)


@pytest.fixture(scope="module")
def quantiser() -> kp.Quantiser:
    return kp.load_quantiser()


def test_features_are_capped_and_describe_the_thumbnail():
    found = kp.extract(textured(200, 300), kp.KeypointOptions(max_keypoints=50))
    assert len(found.x_px) == 50
    assert (found.width_px, found.height_px) == (224, 149)
    assert found.x_px.max() <= 224
    assert found.y_px.max() <= 149
    np.testing.assert_allclose((found.descriptors**2).sum(1), 1, atol=1e-4)


def test_a_busy_corner_does_not_take_all():
    pixels = textured(384, 384) // 6 + 100
    pixels[:96, :96] = textured(96, 96, seed=1)
    found = kp.extract(pixels)
    in_corner = (found.x_px < 58) & (found.y_px < 58)
    assert len(found.x_px) == kp.STANDARD.max_keypoints
    assert in_corner.any()
    assert in_corner.mean() < 0.5


def test_default_is_at_most_4_kb(quantiser):
    points = kp.quantise(kp.extract(textured(400, 400)), quantiser, "a")
    parts = (points.x, points.y, points.scale, points.angle, points.codes)
    assert len(points.x) == kp.STANDARD.max_keypoints
    assert sum(part.nbytes for part in parts) <= 4096


def test_mirroring_needs_no_second_extraction(quantiser):
    pixels = textured(240, 200)
    here = kp.extract(pixels)
    there = kp.extract(np.ascontiguousarray(pixels[:, ::-1]))
    x, y, scale, angle = kp.mirror_geometry(kp.quantise(here, quantiser, "a"))
    mirrored = kp.quantise(there, quantiser, "b")
    first = np.stack([x, y, scale, angle], 1).astype(int)
    second = np.stack([mirrored.x, mirrored.y, mirrored.scale, mirrored.angle], 1).astype(int)
    gap = np.abs(first[:, None] - second[None])
    gap[..., 3] = np.minimum(gap[..., 3], 256 - gap[..., 3])
    nearest = gap.sum(2).argmin(1)
    same = gap.sum(2).min(1) <= 5
    assert same.mean() > 0.9
    permuted = here.descriptors[:, kp.mirror_order()][same]
    assert ((permuted - there.descriptors[nearest[same]]) ** 2).sum(1).mean() < 0.01


def test_signs_mirror_as_the_permutation_does(quantiser):
    descriptors = kp.extract(textured(200, 200)).descriptors

    def rotate(rows: np.ndarray) -> np.ndarray:
        return (rows - quantiser.mean) @ quantiser.rotation.T

    signs = kp.mirror_vectors(rotate(descriptors), quantiser)
    np.testing.assert_allclose(signs, rotate(descriptors[:, kp.mirror_order()]), atol=1e-5)


def test_codes_are_the_nearest_centroids(quantiser):
    descriptors = kp.extract(textured(200, 200)).descriptors[:20]
    rotated = ((descriptors - quantiser.mean) @ quantiser.rotation.T).reshape(20, -1, 1, 4)
    gaps = ((rotated - quantiser.centroids[None]) ** 2).sum(3)
    codes = kp.encode(descriptors, quantiser)
    chosen = np.take_along_axis(gaps, codes[..., None].astype(int), 2)[..., 0]
    np.testing.assert_allclose(chosen, gaps.min(2), atol=1e-5)


def test_reconstruction_is_near(quantiser):
    descriptors = kp.extract(textured(200, 200)).descriptors
    rotated = (descriptors - quantiser.mean) @ quantiser.rotation.T
    error = kp.reconstruct(kp.encode(descriptors, quantiser), quantiser) - rotated
    assert (error**2).sum() < 0.15 * (rotated**2).sum()


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5000, 1), (1, 5000), (192, 192)])
def test_pictures_without_structure_have_no_features(shape, quantiser):
    points = kp.quantise(kp.extract(np.full((*shape, 3), 77, np.uint8)), quantiser, "flat")
    assert points.codes.shape == (0, quantiser.code_bytes)
    assert len(points.x) == 0


def test_fifty_thousand_equal_corners_stay_within_the_cap():
    tile = np.zeros((16, 16, 3), np.uint8)
    tile[4:10, 4:12] = 255
    pixels = np.tile(tile, (224, 224, 1))
    for size in (224, 3584):
        view = np.ascontiguousarray(pixels[:size, :size])
        first, second = kp.extract(view), kp.extract(view.copy())
        assert len(first.x_px) <= kp.STANDARD.max_keypoints
        np.testing.assert_array_equal(first.descriptors, second.descriptors)
    assert len(kp.extract(pixels[:224, :224]).x_px) == kp.STANDARD.max_keypoints


def test_no_pixels_is_an_image_error():
    with pytest.raises(ImageError, match="no pixels"):
        kp.extract(np.zeros((0, 10, 3), np.uint8))


@pytest.mark.parametrize(
    "setting", [{"thumbnail_px": 8}, {"max_keypoints": 0}, {"contrast_threshold": 1.0}]
)
def test_options_out_of_range(setting):
    with pytest.raises(OptionError, match=next(iter(setting))):
        kp.KeypointOptions(**setting)


def test_a_foreign_file_is_no_quantiser(tmp_path: Path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"other\.safetensors"):
        kp.load_quantiser(path)
    with pytest.raises(ModelError, match=r"none\.safetensors"):
        kp.load_quantiser(tmp_path / "none.safetensors")


def test_a_fitted_quantiser_mirrors_by_signs_and_reconstructs(tmp_path: Path):
    many = kp.KeypointOptions(thumbnail_px=384, max_keypoints=2000)
    descriptors = kp.extract(textured(384, 384), many).descriptors
    uri = str(tmp_path / "mine.safetensors")
    write_quantiser(fit_quantiser(descriptors, 32, 8), LocalStorage(), uri)
    mine = kp.load_quantiser(Path(uri))
    assert (mine.dimension, mine.code_bytes) == (32, 8)

    def rotate(rows: np.ndarray) -> np.ndarray:
        return (rows - mine.mean) @ mine.rotation.T

    mirrored = kp.mirror_vectors(rotate(descriptors), mine)
    np.testing.assert_allclose(mirrored, rotate(descriptors[:, kp.mirror_order()]), atol=1e-4)
    error = kp.reconstruct(kp.encode(descriptors, mine), mine) - rotate(descriptors)
    assert (error**2).sum() < 0.3 * (rotate(descriptors) ** 2).sum()
    with pytest.raises(OptionError, match="7 subspaces"):
        fit_quantiser(descriptors, 32, 7)


def test_the_recipe_makes_a_quantiser_of_pictures(tmp_path):
    for number in range(MIN_PICTURES):
        Image.fromarray(textured(160, 120, number)).save(tmp_path / f"{number}.png")
    output = tmp_path / "mine.safetensors"
    assert recipes.main(["quantiser", str(tmp_path), "--output", str(output)]) == 0
    assert kp.load_quantiser(output).code_bytes == 16
