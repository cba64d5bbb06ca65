"""Decoding: every kind of pixel against the picture it was made from, and files that are none."""

import io
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from copydetect.errors import ImageError, OptionError
from copydetect.images import decoding, stills
from copydetect.images.decoding import DecodeOptions, decode

MALFORMED = Path(__file__).parents[1] / ".." / "shared" / "bench" / "malformed"


def picture(width: int = 61, height: int = 43) -> Image.Image:
    """Smooth, and different at every corner, so that any flip or turn shows."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray((np.dstack([x, y, (1 - x) * y]) * 255).astype(np.uint8))


def encode(image: Image.Image, image_format: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **settings)
    return buffer.getvalue()


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def decoded_or_reason(
    data: bytes, max_side_px: int | None, options: DecodeOptions | None = None
) -> np.ndarray | str:
    try:
        return decode(data, max_side_px, options).pixels
    except ImageError as error:
        return str(error)


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_very_pixels(image_format):
    decoded = decode(encode(picture(), image_format))
    np.testing.assert_array_equal(decoded.pixels, np.asarray(picture()))
    assert (decoded.width_px, decoded.height_px, decoded.format) == (61, 43, image_format)
    assert decoded.pixels.flags.writeable
    assert decoded.pixels.flags.c_contiguous


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "AVIF", "HEIF"])
def test_lossy_formats_give_nearly_the_pixels(image_format):
    if image_format == "HEIF":
        pillow_heif = pytest.importorskip("pillow_heif")
        buffer = io.BytesIO()
        pillow_heif.from_pillow(picture()).save(buffer, quality=90)
        data = buffer.getvalue()
    else:
        data = encode(picture(), image_format, quality=95)
    decoded = decode(data)
    assert decoded.format == image_format
    assert distance(decoded.pixels, np.asarray(picture())) < 3


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK"])
def test_modes_without_alpha(mode):
    source = picture().convert(mode)
    decoded = decode(encode(source, "TIFF"))
    np.testing.assert_array_equal(decoded.pixels, np.asarray(source.convert("RGB")))


def test_lab_is_converted_by_its_meaning():
    lab = ImageCms.createProfile("LAB")
    source = ImageCms.profileToProfile(
        picture(), ImageCms.createProfile("sRGB"), lab, outputMode="LAB"
    )
    assert distance(decode(encode(source, "TIFF")).pixels, np.asarray(picture())) < 2


def test_cmyk_jpeg_is_not_negative():
    data = encode(picture().convert("CMYK"), "JPEG", quality=95)
    assert distance(decode(data).pixels, np.asarray(picture())) < 4


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(image_format):
    grey = np.linspace(0, 255, 64 * 48).round().reshape(48, 64).astype(np.uint16)
    decoded = decode(encode(Image.fromarray(grey * 257), image_format))
    np.testing.assert_array_equal(decoded.pixels, np.dstack([grey] * 3))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_samples_without_a_white_are_stretched(dtype):
    ramp = np.linspace(-1000, 9000, 256).astype(dtype).reshape(16, 16)
    pixels = decode(encode(Image.fromarray(ramp), "TIFF")).pixels
    np.testing.assert_allclose(pixels[..., 0].ravel(), np.arange(256), atol=1)


def test_values_that_are_not_finite_do_not_spoil_the_rest():
    values = np.array([[0, np.nan], [np.inf, 2]], np.float32)
    pixels = decode(encode(Image.fromarray(values), "TIFF")).pixels
    assert pixels[..., 0].tolist() == [[0, 0], [0, 255]]


def test_transparency_is_flattened_onto_white():
    rgba = picture().convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(rgba.size))
    expected = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    for image_format in ("PNG", "TIFF"):
        assert (
            np.abs(
                decode(encode(rgba, image_format)).pixels.astype(int) - np.asarray(expected)
            ).max()
            <= 1
        )
    grey = Image.merge("LA", [Image.new("L", (8, 8), 10), Image.new("L", (8, 8), 0)])
    assert decode(encode(grey, "PNG")).pixels.min() == 255


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(image_format):
    source = Image.new("P", (20, 10), 1)
    source.putpalette([200, 0, 0, 0, 0, 200])
    source.paste(0, (0, 0, 10, 10))
    pixels = decode(encode(source, image_format, transparency=0)).pixels
    assert pixels[5, 2].tolist() == [255, 255, 255]
    assert pixels[5, 17].tolist() == [0, 0, 200]


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_a_transparent_colour_is_white(mode):
    colour = {"L": 7, "RGB": (7, 7, 7), "I;16": 7 * 257}[mode]
    source = Image.new(mode, (8, 8), colour)
    assert decode(encode(source, "PNG", transparency=colour)).pixels.min() == 255


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_many(image_format):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    settings = {"lossless": True} if image_format == "WEBP" else {}
    data = encode(frames[0], image_format, save_all=True, append_images=frames[1:], **settings)
    assert decode(data).pixels[8, 8].tolist() == [255, 0, 0]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(image_format, orientation):
    upright = picture(64, 48)
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    turn = stills._TRANSPOSE.get(undo)
    stored = upright.transpose(turn) if turn is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {} if image_format in ("PNG", "TIFF") else {"quality": 95}
    decoded = decode(encode(stored, image_format, exif=exif, **settings), max_side_px=32)
    assert decoded.pixels.shape == (24, 32, 3)
    assert (decoded.width_px, decoded.height_px) == (64, 48)
    assert distance(decoded.pixels, np.asarray(upright.resize((32, 24)))) < 6


def test_large_jpegs_are_drafted_but_never_below_what_is_wanted(monkeypatch):
    upright = picture(2000, 1500)
    data = encode(upright, "JPEG", quality=95)
    drafted = []
    draft = decoding.JpegImageFile.draft

    def spy(self, mode, size):
        result = draft(self, mode, size)
        drafted.append(self.size)
        return result

    monkeypatch.setattr(decoding.JpegImageFile, "draft", spy)
    for side in (240, 250, 251, 448, 1000, 1001, 2000, 3000):
        decoded = decode(data, max_side_px=side)
        assert decoded.pixels.shape == (round(min(side, 2000) * 0.75), min(side, 2000), 3)
        assert (decoded.width_px, decoded.height_px) == (2000, 1500)
        scale = max(scale for scale in (1, 2, 4, 8) if scale * side <= 2000 or scale == 1)
        assert drafted[-1] == (2000 // scale, -(-1500 // scale))
        small = np.asarray(upright.resize(decoded.pixels.shape[1::-1], reducing_gap=2.0))
        assert distance(decoded.pixels, small) < 2


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK"])
def test_max_side_brings_down_any_mode(mode):
    source = picture(640, 480).convert(mode)
    pixels = decode(encode(source, "TIFF"), max_side_px=100).pixels
    assert distance(pixels, np.asarray(source.convert("RGB").resize((100, 75)))) < 3


def test_thin_images_keep_a_pixel():
    assert decode(encode(picture(3000, 2), "PNG"), max_side_px=100).pixels.shape == (1, 100, 3)


def test_the_limit_is_checked_before_pixels_are_read():
    data = bytearray(encode(picture(), "PNG"))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(ImageError, match="60000 × 60000 pixels are over the limit of 200 mega"):
        decode(bytes(data))


def test_draft_rescues_large_jpegs_unless_they_are_progressive():
    limit = DecodeOptions(max_megapixels=0.1)
    baseline = encode(picture(800, 600), "JPEG")
    assert decode(baseline, 100, limit).pixels.shape == (75, 100, 3)
    with pytest.raises(ImageError, match=r"over the limit of 0\.1 megapixels"):
        decode(baseline, None, limit)
    with pytest.raises(ImageError, match="over the limit"):
        decode(encode(picture(800, 600), "JPEG", progressive=True), 100, limit)


def test_jpegs_of_endless_scans_are_refused():
    data = encode(picture(), "JPEG", progressive=True)
    with pytest.raises(ImageError, match="scans"):
        decode(data[:-2] + b"\xff\xda\x00\x02" * 101 + data[-2:])


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF"])
def test_truncated_files_are_errors(image_format):
    data = encode(picture(), image_format)
    for part in (0.05, 0.3, 0.6, 0.9):
        with pytest.raises(ImageError):
            decode(data[: int(len(data) * part)])


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF"])
def test_flipped_bytes_give_an_image_or_an_image_error(image_format):
    data = np.frombuffer(encode(picture(), image_format), np.uint8)
    random = np.random.default_rng(0)
    options = DecodeOptions(max_megapixels=1)
    for _ in range(60):
        broken = data.copy()
        broken[random.integers(0, min(400, len(data)), 3)] = random.integers(0, 256, 3)
        result = decoded_or_reason(broken.tobytes(), 64, options)
        assert result.shape[2] == 3 if isinstance(result, np.ndarray) else "\n" not in result


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html>", "not an image of a supported format.*DOCTY"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image of a supported format"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "not an image of a supported"),
        (b"\xff\xd8\xff", "cannot decode this JPEG file"),
    ],
)
def test_errors_name_the_reason(data, reason):
    with pytest.raises(ImageError, match=reason):
        decode(data)


def test_mistakes_of_the_caller_are_not_bad_images():
    with pytest.raises(OptionError, match="max_side_px is 0"):
        decode(encode(picture(), "PNG"), max_side_px=0)
    with pytest.raises(OptionError, match="max_megapixels is -1"):
        DecodeOptions(max_megapixels=-1)
    with pytest.raises((TypeError, AttributeError)):
        decode("photo.jpg")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_capture_time_and_broken_exif():
    exif = Image.Exif()
    exif[0x0132] = "2003:08:11 16:45:32"
    assert decode(encode(picture(), "JPEG", exif=exif)).captured == "2003-08-11T16:45:32"
    exif[0x0132] = "    :  :     "
    assert decode(encode(picture(), "JPEG", exif=exif)).captured == ""
    assert decode(encode(picture(), "JPEG", exif=b"Exif\0\0MM\0*garbage")).captured == ""


def test_threads_decode_side_by_side_and_pillow_stays_as_it_was():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    files = [encode(picture(200 + i, 150), kind) for i in range(6) for kind in ("JPEG", "PNG")]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda data: decode(data, 64).pixels, files))
    for data, pixels in zip(files, together, strict=True):
        np.testing.assert_array_equal(pixels, decode(data, 64).pixels)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


@pytest.mark.parametrize("size", [(70, 50), (52, 40), (31, 22), (13, 9), (90, 64)])
def test_resizing_keeps_the_picture_in_place(size):
    source = picture(61, 43)
    resized = stills.resize(np.asarray(source), *size)
    assert distance(resized, np.asarray(source.resize(size))) < 1.5


def test_same_size_is_the_same_array():
    pixels = np.asarray(picture(80, 40))
    assert stills.resize(pixels, 80, 40) is pixels


def test_heic_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"pip install pillow-heif"):
        decode(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.skipif(not MALFORMED.is_dir(), reason="the malformed files are not here")
@pytest.mark.parametrize("max_side_px", [None, 288])
def test_malformed_files_are_decoded_or_refused(max_side_px):
    results = [decoded_or_reason(path.read_bytes(), max_side_px) for path in MALFORMED.iterdir()]
    pictures = [result for result in results if isinstance(result, np.ndarray)]
    assert all(result for result in results if isinstance(result, str))
    assert all(pixels.shape[2] == 3 and pixels.dtype == np.uint8 for pixels in pictures)
    assert len(pictures) > 150


@pytest.mark.parametrize(
    ("image_format", "mode", "cost"),
    [("PNG", "RGB", 1), ("TIFF", "RGB", 1), ("WEBP", "RGB", 2), ("TIFF", "F", 3)],
)
def test_the_limit_counts_the_memory_that_a_format_takes(image_format, mode, cost):
    data = encode(picture(100, 100).convert(mode), image_format)
    decode(data, options=DecodeOptions(cost * 0.01))
    with pytest.raises(ImageError, match="over the limit"):
        decode(data, options=DecodeOptions(cost * 0.01 - 0.001))


def test_a_tiff_may_be_as_large_as_the_limit_says(monkeypatch):
    data = encode(picture(100, 100), "TIFF")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode(data).pixels.shape == (100, 100, 3)


def test_the_tiles_of_a_tiff_count():
    image = decoding.TiffImageFile(io.BytesIO(encode(picture(16, 16), "TIFF")))
    assert decoding._decoded_pixels(image) == 256
    image._tile_size = (60_000, 8)
    assert decoding._decoded_pixels(image) == 16 * 60_000
