"""File extensions: of images, of containers of images, and of other files."""

from __future__ import annotations

from typing import Literal

from copydetect.images.raw import RAW_EXTENSIONS, can_read_raw

SourceKind = Literal["files", "tar", "parquet", "manifest"]

IMAGE_EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
) | {".avif", ".heic", ".heif", ".hif"}

_OTHERS = """
.txt .md .json .jsonl .xml .yaml .yml .html .htm .css .js .py .log .ini .cfg .sqlite .db .lock
.pdf .doc .docx .xls .xlsx .ppt .pptx .odt .svg .psd .ai .eps .npy .npz .pt .pickle .pkl .bin
.mp4 .mov .avi .mkv .webm .m4v .mpg .mpeg .wmv .3gp .mp3 .wav .flac .ogg .m4a .aac .zip .gz
.tgz .bz2 .xz .zst .7z .rar .exe .dll .so .xmp .thm .aae
"""
OTHER_EXTENSIONS = frozenset(_OTHERS.split())
"""Known to be no images, whatever they begin with: they are not opened."""

CONTAINER_KINDS: dict[str, SourceKind] = {
    ".tar": "tar",
    ".parquet": "parquet",
    ".csv": "manifest",
}


def image_extensions() -> frozenset[str]:
    """Extensions of what can be read here: RAW files only where `rawpy` is installed."""
    # Dumps of disks and of sound are called .raw as well: its first bytes have to tell.
    raw = RAW_EXTENSIONS - {".raw"} if can_read_raw() else frozenset[str]()
    return IMAGE_EXTENSIONS | raw
