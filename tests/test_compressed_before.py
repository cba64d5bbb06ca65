"""Which of two pictures that lie on each other was compressed first; on real photos."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from copydetect.homographies import Matrix, inverse, scaling, shift
from copydetect.images.decoding import decode
from copydetect.verification import compressed_before
from copydetect.verification.laid_blocks import laid_blocks
from copydetect.verification.pair_images import PairImage, prepare, prepare_whole

PHOTOS = Path(__file__).parents[1] / "sample_data" / "photos" / "pictures"
WIDTH, HEIGHT = 443, 301
"""No multiples of 8, so that blocks of a mirrored picture are elsewhere."""
SAME = np.eye(3)
MIRRORED = np.array([[-1.0, 0, WIDTH - 1], [0, 1, 0], [0, 0, 1]])
TURNED = np.array([[0.0, 1, 0], [-1, 0, WIDTH - 1], [0, 0, 1]])


@pytest.fixture(scope="module", params=["astronaut.jpg", "chelsea.jpg"])
def photo(request: pytest.FixtureRequest) -> Image.Image:
    """A photo that shows no compression, for it was reduced."""
    image = Image.open(PHOTOS / request.param).convert("RGB")
    return ImageOps.fit(image, (WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def before(matrix: Matrix, query: PairImage, reference: PairImage) -> float:
    laid = laid_blocks(matrix, query, reference)
    return compressed_before.compressed_before(*laid) if laid else 0.0


def saved(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def whole(image: Image.Image) -> PairImage:
    return prepare("", np.array(image), None, 1200)


def filed(image: Image.Image, quality: int | None) -> PairImage:
    """Of a JPEG of this quality, or a PNG where there is none."""
    stream = io.BytesIO()
    image.save(stream, "PNG" if quality is None else "JPEG", quality=quality or 0)
    return prepare_whole("", decode(stream.getvalue()))


def webp(image: Image.Image) -> PairImage:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=90)
    return prepare_whole("", decode(stream.getvalue()))


def resized(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


def pixels_of(image: PairImage) -> Image.Image:
    return Image.fromarray(image.pixels)


def file_told(original: PairImage, copy: PairImage) -> float:
    """1 where the copy is told, of files whose pixels lie on each other."""
    found = before(SAME, copy, original)
    assert before(SAME, original, copy) == -found
    return found


def told(original: Image.Image, copy: Image.Image, matrix: Matrix) -> float:
    """1 where the copy is told; matrix: px of the original → px of the copy."""
    one, other = whole(original), whole(copy)
    found = before(inverse(matrix), other, one)
    assert before(matrix, one, other) == -found
    return found


def test_a_mirrored_copy_shows_the_compression_of_its_original(photo: Image.Image) -> None:
    original = saved(photo, 75)
    assert told(original, saved(ImageOps.mirror(original), 90), MIRRORED) == 1


def test_so_does_a_turned_one(photo: Image.Image) -> None:
    original = saved(photo, 75)
    assert told(original, saved(original.rotate(90, expand=True), 92), TURNED) == 1


def test_so_does_a_crop(photo: Image.Image) -> None:
    original = saved(photo, 70)
    assert told(original, saved(original.crop((37, 21, 421, 290)), 90), shift(-37, -21)) == 1


@pytest.mark.parametrize("change", [ImageEnhance.Brightness, ImageEnhance.Color])
def test_edits_of_tone_and_colour_leave_it(photo: Image.Image, change: type) -> None:
    original = saved(photo, 60)
    copy = saved(change(ImageOps.mirror(original)).enhance(1.15), 95)
    assert told(original, copy, MIRRORED) == 1


def test_a_transform_that_is_half_a_pixel_off_finds_the_pixels(photo: Image.Image) -> None:
    original = saved(photo, 70)
    copy = saved(original.crop((37, 21, 421, 290)), 92)
    assert told(original, copy, shift(-37.4, -20.7)) == 1


def test_coarse_steps_have_rounded_what_was_finer(photo: Image.Image) -> None:
    """A messenger saves a good photo anew, with the blocks in the same places."""
    original = saved(photo, 95)
    assert told(original, saved(original, 60), SAME) == 1


def test_two_copies_of_one_picture_tell_nothing_of_each_other(photo: Image.Image) -> None:
    copies = saved(photo, 85), saved(ImageOps.mirror(photo), 85)
    assert told(*copies, MIRRORED) == 0


@pytest.mark.parametrize("factor", [0.7, 0.9, 1.12, 1.3, 2.0])
def test_a_resized_copy_shows_the_compression_of_its_original(
    photo: Image.Image, factor: float
) -> None:
    original = saved(photo, 60)
    copy = saved(resized(original, factor), 92)
    assert told(original, copy, scaling(original.size, copy.size)) == 1


def test_so_does_one_that_is_mirrored_too(photo: Image.Image) -> None:
    original = saved(photo, 60)
    copy = saved(ImageOps.mirror(resized(original, 1.3)), 92)
    matrix = scaling(original.size, copy.size) @ MIRRORED
    assert told(original, copy, matrix) == 1


def test_a_file_that_was_saved_twice_shows_its_first_compression(photo: Image.Image) -> None:
    original = filed(saved(photo, 60), 92)
    thumbnail = filed(resized(pixels_of(original), 1.2), 80)
    matrix = scaling((HEIGHT, WIDTH)[::-1], (thumbnail.width_px, thumbnail.height_px))
    assert before(inverse(matrix), thumbnail, original) == 1


@pytest.mark.parametrize(("factor", "quality"), [(0.5, 95), (0.7, 75), (1.3, 95), (1.3, 75)])
def test_a_small_copy_of_a_third_is_not_the_original_of_a_large_one(
    photo: Image.Image, factor: float, quality: int
) -> None:
    small, large = sorted(
        (filed(resized(photo, factor), quality), filed(photo, 60)), key=lambda one: one.width_px
    )
    sizes = [(one.width_px, one.height_px) for one in (small, large)]
    assert before(scaling(*sizes), small, large) >= 0


@pytest.mark.parametrize("degrees", [0, 4])
def test_so_does_a_resized_or_turned_part(photo: Image.Image, degrees: float) -> None:
    original = filed(photo, 60)
    turned = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), degrees, 0.9)
    matrix = shift(-37, -21) @ np.vstack([turned, [0, 0, 1]])
    part = cv2.warpPerspective(original.pixels, matrix, (330, 230), flags=cv2.INTER_CUBIC)
    assert before(inverse(matrix), filed(Image.fromarray(part), 95), original) == 1


def test_nothing_is_told_of_little(photo: Image.Image) -> None:
    original = saved(photo, 75)
    assert told(original, saved(original.crop((0, 0, 60, 60)), 95), SAME) == 0


def test_a_webp_comes_before_or_after_a_jpeg(photo: Image.Image) -> None:
    original = filed(photo, 60)
    assert file_told(original, webp(pixels_of(original))) == 1
    assert file_told(webp(photo), filed(pixels_of(webp(photo)), 75)) == 1


def test_nothing_is_told_of_pictures_without_compression(photo: Image.Image) -> None:
    assert told(photo, ImageOps.mirror(photo), MIRRORED) == 0


@pytest.mark.parametrize("qualities", [(75, 90), (60, 80), (80, 95), (92, 70)])
def test_files_say_which_came_first_in_the_same_blocks(
    photo: Image.Image, qualities: tuple[int, int]
) -> None:
    before, after = qualities
    original = filed(photo, before)
    assert file_told(original, filed(pixels_of(original), after)) == 1


def test_so_they_do_when_the_copy_has_other_tones(photo: Image.Image) -> None:
    original = filed(photo, 75)
    edited = ImageEnhance.Contrast(ImageEnhance.Color(pixels_of(original)).enhance(0.6))
    assert file_told(original, filed(edited.enhance(0.8), 90)) == 1


def test_a_file_without_loss_comes_before_or_after(photo: Image.Image) -> None:
    original = filed(photo, 60)
    assert file_told(original, filed(pixels_of(original), None)) == 1
    assert file_told(filed(photo, None), original) == 1


def test_files_made_from_a_third_tell_nothing_of_each_other(photo: Image.Image) -> None:
    assert file_told(filed(photo, 75), filed(photo, 75)) == 0
    assert file_told(filed(photo, 90), filed(photo, 85)) == 0


@pytest.mark.parametrize(("first", "coarse"), [(75, 86), (70, 85)])
def test_what_kept_the_comb_of_a_third_is_no_copy_of_a_coarse_one(
    photo: Image.Image, first: int, coarse: int
) -> None:
    """The steps of the third are near multiples of those of the coarse one."""
    third = pixels_of(filed(photo, first))
    assert file_told(filed(third, coarse), filed(third, 95)) <= 0


def test_gaps_tell_the_finer_file_that_was_made_in_place(photo: Image.Image) -> None:
    """Of steps this near to each other no comb shows, and neither has plainly rounded the other."""
    original = filed(photo, 85)
    written = pixels_of(original)
    ImageDraw.Draw(written).text((60, 60), "SALE", fill="white", font_size=60)
    assert file_told(original, filed(written, 90)) == 1
    assert file_told(filed(photo, 85), filed(photo, 90)) == 0


def test_equal_steps_tell_nothing(photo: Image.Image) -> None:
    original = filed(photo, 80)
    assert file_told(original, filed(pixels_of(original), 80)) == 0


def test_a_small_picture_is_enough(photo: Image.Image) -> None:
    original = filed(ImageOps.fit(photo, (192, 192)), 88)
    assert file_told(original, filed(pixels_of(original), 60)) == 1
