"""What the EXIF data and the bytes of a file tell of its past."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from copydetect.errors import ImageError
from copydetect.grouping.file_history import read_history

PHOTO = Path(__file__).parents[1] / "sample_data" / "photos" / "pictures" / "chelsea.jpg"


def photo() -> Image.Image:
    return Image.open(PHOTO).convert("RGB")


def camera_data(size: tuple[int, int]) -> Image.Exif:
    """As a phone writes it."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131] = "Apple", "iPhone 12", "15.4.1"
    exif[0x0132] = "2021:06:05 12:30:05"
    details = exif.get_ifd(0x8769)
    details[0x9003], details[0xA002], details[0xA003] = "2021:06:05 12:30:00", *size
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 20.0)
    return exif


def saved(image: Image.Image, exif: Image.Exif | None = None) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90, **({"exif": exif} if exif else {}))
    return stream.getvalue()


def test_a_camera_s_file() -> None:
    image = photo()
    found = read_history("a.jpg", saved(image, camera_data(image.size)))
    assert found.camera == "Apple iPhone 12"
    assert found.taken
    assert found.located
    assert (found.editor, found.changed, found.resized, found.retouched) == (
        "",
        False,
        False,
        False,
    )
    assert found.megapixels == pytest.approx(image.width * image.height / 1e6)


def test_an_editor_s_file() -> None:
    image = photo()
    exif = camera_data(image.size)
    exif[0x0131], exif[0x0132] = "Adobe Photoshop 22.0 (Windows)", "2022:01:01 08:00:00"
    half = image.resize((image.width // 2, image.height // 2))
    found = read_history("a.jpg", saved(half, exif))
    assert found.editor == "Adobe Photoshop 22.0 (Windows)"
    assert found.changed
    assert found.resized


def test_a_file_that_says_nothing() -> None:
    found = read_history("a.jpg", saved(photo()) + bytes(500))
    assert (found.camera, found.taken, found.located, found.editor) == ("", False, False, "")
    assert found.padding_bytes >= 500
    assert read_history("b.jpg", saved(photo())).padding_bytes == 0


def test_an_embedded_thumbnail_shows_the_picture_before_it_was_cropped() -> None:
    image = photo()
    small = image.copy()
    small.thumbnail((160, 160))
    thumbnail = saved(small)
    for shown, retouched in (
        (image, False),
        (image.crop((0, 0, image.width // 2, image.height)), True),
        (ImageOps.mirror(image), True),
    ):
        block = b"Exif\0\0" + tiff_with(thumbnail)
        stream = io.BytesIO()
        shown.save(stream, "JPEG", quality=90, exif=block)
        assert read_history("a.jpg", stream.getvalue()).retouched == retouched


def tiff_with(thumbnail: bytes) -> bytes:
    """A TIFF block whose second directory names a JPEG thumbnail."""

    def entry(tag: int, value: int) -> bytes:
        fields = ((tag, 2), (4, 2), (1, 4), (value, 4))
        return b"".join(number.to_bytes(size, "little") for number, size in fields)

    first = (0).to_bytes(2, "little") + (14).to_bytes(4, "little")
    start = 14 + 2 + 2 * 12 + 4
    entries = entry(0x201, start) + entry(0x202, len(thumbnail))
    second = (2).to_bytes(2, "little") + entries + (0).to_bytes(4, "little")
    return b"II*\0" + (8).to_bytes(4, "little") + first + second + thumbnail


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ImageError):
        read_history("a.jpg", b"\xff\xd8\xff\xe0 no picture")
