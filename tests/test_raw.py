"""RAW files: told by their first bytes, and read by the preview inside."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from copydetect.errors import ImageError
from copydetect.images import raw
from copydetect.images.decoding import decode, sniff_format
from copydetect.inputs import extensions
from copydetect.inputs.finding import find_sources
from copydetect.storage.files import LocalStorage

SHORT, LONG, BYTE, ASCII, RATIONAL = 3, 4, 1, 2, 5
_FORMAT = {SHORT: "H", LONG: "I", BYTE: "B", ASCII: "B"}

Tag = tuple[int, int, Sequence[int]]


def jpeg(width: int = 640, height: int = 480) -> bytes:
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=-1)
    encoded = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


def directory(tags: Sequence[Tag], at: int) -> bytes:
    """A TIFF directory at an offset, with its values behind it."""
    entries, values = b"", b""
    after = at + 2 + 12 * len(tags) + 4
    for tag, kind, numbers in sorted(tags):
        if kind == RATIONAL:
            packed, count = struct.pack(f"<{len(numbers)}I", *numbers), len(numbers) // 2
        else:
            packed, count = struct.pack(f"<{len(numbers)}{_FORMAT[kind]}", *numbers), len(numbers)
        if len(packed) > 4:
            entries += struct.pack("<HHII", tag, kind, count, after + len(values))
            values += packed + b"\0" * (len(packed) % 2)
        else:
            entries += struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0")
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0) + values


def dng(preview: bytes, orientation: int = 1, side: int = 512) -> bytes:
    """A small DNG: a preview as JPEG in front, a mosaic of one grey behind it."""
    mosaic = np.full((side, side), 2000, np.uint16).tobytes()
    preview_at, mosaic_at = 8, 8 + len(preview) + len(preview) % 2
    raw_at = mosaic_at + len(mosaic)
    sensor: list[Tag] = [
        (254, LONG, [0]), (256, LONG, [side]), (257, LONG, [side]), (258, SHORT, [16]),
        (259, SHORT, [1]), (262, SHORT, [32803]), (273, LONG, [mosaic_at]), (277, SHORT, [1]),
        (278, LONG, [side]), (279, LONG, [len(mosaic)]), (33421, SHORT, [2, 2]),
        (33422, BYTE, [0, 1, 1, 2]), (50717, LONG, [4095]),
    ]  # fmt: skip
    behind = directory(sensor, raw_at)
    first_at = raw_at + len(behind) + len(behind) % 2
    width, height = Image.open(io.BytesIO(preview)).size
    one = [1, 1, 0, 1, 0, 1]
    front: list[Tag] = [
        (254, LONG, [1]), (256, LONG, [width]), (257, LONG, [height]), (258, SHORT, [8, 8, 8]),
        (259, SHORT, [7]), (262, SHORT, [6]), (271, ASCII, [*b"Test\0"]),
        (272, ASCII, [*b"Test\0"]), (273, LONG, [preview_at]), (274, SHORT, [orientation]),
        (277, SHORT, [3]), (278, LONG, [height]), (279, LONG, [len(preview)]),
        (330, LONG, [raw_at]), (50706, BYTE, [1, 4, 0, 0]), (50708, ASCII, [*b"Test\0"]),
        (50721, RATIONAL, [*one, 0, 1, *one, 0, 1, *one]), (50728, RATIONAL, [1, 1] * 3),
    ]  # fmt: skip
    front = [
        tag if tag[0] != 50721 else (50721, RATIONAL, [1, 1, *[0, 1] * 3] * 2 + [1, 1])
        for tag in front
    ]
    head = struct.pack("<4sI", b"II*\0", first_at)
    padded = preview + b"\0" * (len(preview) % 2)
    return head + padded + mosaic + behind + b"\0" * (len(behind) % 2) + directory(front, first_at)


def test_a_raw_file_is_told_from_a_tiff() -> None:
    plain = io.BytesIO()
    Image.new("RGB", (8, 8)).save(plain, "TIFF")
    assert sniff_format(plain.getvalue()) == "TIFF"
    assert sniff_format(dng(jpeg())) == "RAW"
    for start in (
        b"FUJIFILMCCD-RAW 0201",
        b"IIRO\x08\0\0\0",
        b"\0\0\0\x18ftypcrx \0\0\0\x01",
        b"II\x1a\0\0\0HEAPCCDR\2\0",
        b"ARRI\x12\0\0\0",
    ):
        assert sniff_format(start.ljust(64, b"\0")) == "RAW"
    assert sniff_format(b"II*\0\x10\0\0\0CR\x02\0".ljust(64, b"\0")) == "RAW"


def test_without_rawpy_a_raw_file_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rawpy", None)
    with pytest.raises(ImageError, match="pip install rawpy"):
        decode(dng(jpeg()))


def test_raw_files_are_listed_where_they_can_be_read_and_else_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "a.CR2", "b.dng"):
        (tmp_path / name).write_bytes(b"-")
    monkeypatch.setattr(extensions, "can_read_raw", lambda: False)
    found = find_sources(LocalStorage(), str(tmp_path))
    assert (found.file_count, found.skipped) == (1, {".cr2": 1, ".dng": 1})
    monkeypatch.setattr(extensions, "can_read_raw", lambda: True)
    assert find_sources(LocalStorage(), str(tmp_path)).file_count == 3


def test_a_file_called_raw_is_told_by_its_first_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, start in (("a.jpg", b"-"), ("b.raw", b"IIU\0\x18\0\0\0"), ("c.raw", b"\xeb\x63")):
        (tmp_path / name).write_bytes(start.ljust(600, b"\0"))
    monkeypatch.setattr(extensions, "can_read_raw", lambda: True)
    found = find_sources(LocalStorage(), str(tmp_path))
    assert [name for piece in found.pieces for name in piece.names] == ["a.jpg", "b.raw"]
    assert found.skipped == {".raw": 1}
    assert raw.is_named_raw("A/B.RAW")
    assert not raw.is_named_raw("straw")


def test_the_preview_is_decoded() -> None:
    pytest.importorskip("rawpy", reason="rawpy is not installed")
    picture = jpeg()
    decoded = decode(dng(picture), max_side_px=320)
    assert (decoded.format, decoded.width_px, decoded.height_px) == ("RAW", 640, 480)
    assert np.array_equal(decoded.pixels, decode(picture, max_side_px=320).pixels)


def test_the_preview_is_upright() -> None:
    pytest.importorskip("rawpy", reason="rawpy is not installed")
    picture = jpeg()
    decoded = decode(dng(picture, orientation=6))
    assert (decoded.width_px, decoded.height_px) == (480, 640)
    upright = np.rot90(decode(picture).pixels, -1)
    assert np.array_equal(decoded.pixels, upright)


def test_a_damaged_raw_file_is_an_image_error() -> None:
    pytest.importorskip("rawpy", reason="rawpy is not installed")
    whole = dng(jpeg())
    with pytest.raises(ImageError, match="RAW"):
        decode(b"FUJIFILMCCD-RAW 0201".ljust(300, b"\0"))
    for part in (200, 20_000):
        with pytest.raises(ImageError):
            decode(whole[:8] + whole[8:part][:0] + whole[-part:])


def test_can_read_raw_says_whether_rawpy_is_there() -> None:
    try:
        import rawpy  # noqa: F401
    except ImportError:
        assert not raw.can_read_raw()
    else:
        assert raw.can_read_raw()
