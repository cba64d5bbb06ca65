"""Animations and transparency: what decoding tells of them, and what is seen of them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from copydetect.description.renderings import MOMENTS, ON_BLACK, most_different, renderings_of
from copydetect.images.decoding import DecodeOptions, decode, long_side_px
from copydetect.images.transparency import BLACK, ground_matters, is_shape, on_ground, shape_of
from tests.media import animated, drawing, encode, flattened, pan, symbol, title_card
from tests.scenes import scene

KINDS = ["GIF", "WEBP", "PNG", "AVIF"]


@pytest.fixture(scope="module")
def clip() -> list[Image.Image]:
    return pan(scene(3, 700, 180), 6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_animation_says_how_long_it_is_and_shows_its_moments(
    kind: str, clip: list[Image.Image]
) -> None:
    decoded = decode(animated(clip, kind), moments=4)
    assert (decoded.moments.frames, decoded.moments.duration_msec) == (6, 480)
    assert len(decoded.moments.later) == 3
    for still, number in zip(decoded.moments.later, (2, 3, 5), strict=True):
        difference = np.abs(still.pixels.astype(int) - np.asarray(clip[number])).mean()
        assert difference < 12


def test_all_moments_have_the_size_of_the_first(clip: list[Image.Image]) -> None:
    decoded = decode(animated(clip, "WEBP"), max_side_px=100, moments=3)
    assert {still.pixels.shape for still in decoded.moments.later} == {decoded.pixels.shape}
    assert decoded.pixels.shape == (75, 100, 3)


def test_a_still_picture_stands_still(clip: list[Image.Image]) -> None:
    pages = encode(clip[0], "TIFF", save_all=True, append_images=clip[1:])
    for data in (encode(clip[0], "GIF"), encode(clip[0], "PNG"), pages):
        moments = decode(data, moments=4).moments
        assert (moments.frames, moments.duration_msec, moments.later) == (1, None, ())


def test_of_a_long_animation_a_bounded_part_is_decoded(clip: list[Image.Image]) -> None:
    three_frames = DecodeOptions(max_megapixels=240 * 180 * 3.5 / 1e6)
    moments = decode(animated(clip, "GIF"), options=three_frames, moments=9).moments
    assert (moments.frames, moments.duration_msec, len(moments.later)) == (6, None, 2)


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_an_animation_that_is_cut_off_is_what_is_left_of_it(
    kind: str, clip: list[Image.Image]
) -> None:
    data = animated(clip, kind)
    moments = decode(data[: len(data) * 2 // 3], moments=6).moments
    assert 1 <= len(moments.later) < 5
    assert moments.duration_msec is None


def test_opacity_is_told_where_something_shows_through() -> None:
    picture = drawing(1)
    decoded = decode(encode(picture, "PNG"))
    assert decoded.opacity is not None
    assert np.array_equal(decoded.opacity, np.asarray(picture.getchannel("A")))
    opaque = flattened(picture, (9, 9, 9))
    assert decode(encode(opaque, "PNG")).opacity is None
    assert decode(encode(opaque.convert("RGBA"), "PNG")).opacity is None
    assert decode(encode(picture, "PNG"), max_side_px=120).pixels.shape == (90, 120, 3)


def test_on_a_ground_a_picture_is_what_flattening_makes_of_it() -> None:
    picture = drawing(2)
    decoded = decode(encode(picture, "PNG"))
    assert decoded.opacity is not None
    for ground in (BLACK, (128, 128, 128), (200, 40, 90)):
        expected = np.asarray(flattened(picture, ground)).astype(int)
        shown = on_ground(decoded.pixels, decoded.opacity, ground)
        assert np.abs(shown - expected).max() <= 2


def test_hidden_colours_are_not_seen() -> None:
    picture = np.array(drawing(3))
    hidden = picture.copy()
    hidden[hidden[..., 3] == 0] = (200, 30, 90, 0)
    one, other = (decode(encode(Image.fromarray(p), "PNG")) for p in (picture, hidden))
    assert np.array_equal(one.pixels, other.pixels)
    seen = zip(renderings_of(one), renderings_of(other), strict=True)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in seen)


def test_an_ordinary_image_has_one_rendering() -> None:
    pixels = scene(5, 200, 150)
    (whole,) = renderings_of(decode(encode(Image.fromarray(pixels), "PNG")))
    assert whole.name == "whole"
    assert np.array_equal(whole.pixels, pixels)


def test_a_transparent_picture_is_seen_on_white_and_on_black() -> None:
    picture = drawing(4)
    whole, dark = renderings_of(decode(encode(picture, "PNG")))
    assert (whole.name, dark.name) == ("whole", ON_BLACK)
    assert np.array_equal(whole.pixels, np.asarray(flattened(picture, (255, 255, 255))))
    assert np.abs(dark.pixels.astype(int) - np.asarray(flattened(picture, BLACK))).max() <= 2


def test_drawings_of_one_colour_are_seen_by_their_shape() -> None:
    black, white, red = (
        renderings_of(decode(encode(symbol(colour), "PNG")))
        for colour in ((0, 0, 0), (255, 255, 255), (200, 20, 30))
    )
    for other in (white, red):
        for one, same in zip(black, other, strict=True):
            assert np.array_equal(one.pixels, same.pixels)
    assert black[0].pixels[0, 0].tolist() == [255, 255, 255]
    assert black[1].pixels[0, 0].tolist() == [0, 0, 0]


def test_what_is_empty_or_opaque_but_for_its_corners_has_one_rendering() -> None:
    corners = Image.fromarray(scene(6, 200, 150)).convert("RGBA")
    corners.putpixel((0, 0), (0, 0, 0, 0))
    for image in (Image.new("RGBA", (64, 64), (0, 0, 0, 0)), corners):
        assert len(renderings_of(decode(encode(image, "PNG")))) == 1
    assert not ground_matters(None)


def test_one_colour_is_told_from_several() -> None:
    for picture, expected in ((symbol((10, 90, 40)), True), (drawing(5), False)):
        decoded = decode(encode(picture, "PNG"))
        assert decoded.opacity is not None
        assert is_shape(decoded.pixels, decoded.opacity) == expected
        assert shape_of(decoded.opacity, dark=True).shape == decoded.pixels.shape


def test_the_renderings_of_an_animation_are_pictures_of_their_own(
    clip: list[Image.Image],
) -> None:
    black = Image.new("RGB", clip[0].size)
    frames = [black, title_card(), *[clip[0]] * 4, clip[-1]]
    seen = renderings_of(decode(animated(frames, "PNG"), moments=12))
    assert [one.name for one in seen] == ["whole", *MOMENTS[: len(seen) - 1]]
    assert np.array_equal(seen[0].pixels, np.asarray(title_card()))
    shown = {one.pixels.tobytes() for one in seen}
    assert shown == {np.asarray(frame).tobytes() for frame in (title_card(), clip[0], clip[-1])}


def test_the_most_different_stills_are_chosen_first() -> None:
    plain = np.zeros((40, 60, 3), np.uint8)
    one, other = scene(7, 60, 40), scene(8, 60, 40)
    assert most_different([plain, one, one, other], 4) == [1, 3]
    assert most_different([plain, plain], 4) == [0]
    assert most_different([one, other], 1) == [0]


def test_each_piece_of_a_strip_has_as_many_px_as_a_picture() -> None:
    assert long_side_px(400, 300, 224) == long_side_px(900, 300, 224) == 224
    assert long_side_px(300, 1800, 224) == 224 * 3
    assert long_side_px(1800, 300, 224) == 224 * 3
    assert long_side_px(3000, 20, 224) == 224 * 8
    tall = Image.fromarray(scene(9, 100, 1200))
    assert decode(encode(tall, "PNG"), 100).pixels.shape == (100, 8, 3)
    assert decode(encode(tall, "PNG"), 100, in_pieces=True).pixels.shape == (700, 58, 3)
