"""What pixels tell of their past: enlarged, compressed before, cut out; on real photos."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from copydetect.grouping.pixel_history import earlier_steps, pixel_history
from copydetect.images.compression import own_steps

PHOTOS = Path(__file__).parents[1] / "sample_data" / "photos" / "pictures"


@pytest.fixture(scope="module", params=["astronaut.jpg", "chelsea.jpg"])
def photo(request: pytest.FixtureRequest) -> Image.Image:
    """A photo without a history: reduced, so that no trace of its file is left."""
    image = Image.open(PHOTOS / request.param).convert("RGB")
    return image.resize((image.width * 2 // 3, image.height * 2 // 3), Image.Resampling.LANCZOS)


def saved(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def history(image: Image.Image):
    return pixel_history(np.array(image.convert("L")))


def octaves(image: Image.Image) -> float:
    """By how much an earlier JPEG was coarser than the file itself."""
    table = getattr(image, "quantization", {}).get(0)
    return earlier_steps(history(image), own_steps(table or ()))


def test_a_photo_has_no_history(photo: Image.Image) -> None:
    found = history(photo)
    assert found.detail_factor < 1.3
    assert set(found.steps) == {1}
    assert not found.shifted


@pytest.mark.parametrize("factor", [2, 3])
def test_enlarging_adds_no_detail(photo: Image.Image, factor: int) -> None:
    large = photo.resize((photo.width * factor, photo.height * factor), Image.Resampling.BICUBIC)
    for image in (large, saved(large, 80)):
        assert 0.8 * factor < history(image).detail_factor < 1.6 * factor


def test_blur_takes_detail_away(photo: Image.Image) -> None:
    assert history(photo.filter(ImageFilter.GaussianBlur(2))).detail_factor > 2


@pytest.mark.parametrize("quality", [30, 60, 80])
def test_an_earlier_compression_shows_in_a_finer_one(photo: Image.Image, quality: int) -> None:
    once = saved(photo, quality)
    assert octaves(once) < 0.3
    assert octaves(saved(once, 96)) > 1
    stream = io.BytesIO()
    once.save(stream, "PNG")
    assert octaves(Image.open(stream)) > 1


def test_blocks_show_below_noise_that_hides_the_comb(photo: Image.Image) -> None:
    def noisy(image: Image.Image) -> Image.Image:
        noise = np.random.default_rng(1).normal(0, 4, (image.height, image.width, 3))
        return Image.fromarray(np.clip(np.array(image) + noise, 0, 255).astype(np.uint8))

    copy = saved(noisy(saved(photo, 50)), 96)
    assert np.median(history(copy).steps) == 1
    assert octaves(copy) > 1
    assert octaves(saved(noisy(photo), 96)) == 0


def test_what_was_cut_out_or_mirrored_has_its_blocks_elsewhere(photo: Image.Image) -> None:
    once = saved(photo.crop((0, 0, 301, 205)), 75)
    assert history(once.crop((13, 5, 290, 200))).shifted
    assert history(ImageOps.mirror(once)).shifted
    assert not history(once).shifted


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (64, 8), (300, 3)])
def test_pictures_of_a_few_pixels_and_of_one_colour(size: tuple[int, int]) -> None:
    for image in (Image.new("L", size, 90), Image.effect_noise(size, 50)):
        found = history(image)
        assert found.detail_factor >= 1
        assert not found.shifted
