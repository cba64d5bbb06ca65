"""Names of files → which of them belong together, so that they stay or go together.

A camera writes a shot as RAW and JPEG, a phone a photo with a second of film, and programs leave
what they know of a picture in a file beside it. Names alone tell: these files are in one folder,
and their names begin alike. Pure: nothing is opened.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from copydetect.images.raw import RAW_EXTENSIONS

CompanionKind = Literal["raw", "picture", "film", "sidecar"]
"""raw: the RAW of a shot; picture: its JPEG or HEIC; film: of a live or motion photo; sidecar: what
a program knows of it (.xmp, .aae, .json of Google's and others)."""

_PICTURES = frozenset((".jpg", ".jpeg", ".jpe", ".heic", ".heif", ".hif", ".png", ".avif", ".webp"))
_SHOTS = frozenset((".jpg", ".jpeg", ".jpe", ".heic", ".heif", ".hif"))
"""What cameras write beside a RAW or a film."""
_FILMS = frozenset((".mov", ".mp4", ".mp", ".mv"))
_SIDECARS = frozenset((".xmp", ".aae", ".json", ".pp3", ".dop", ".thm"))
_GOOGLE_NAME = 46
"""Letters that Google's export keeps of "picture.jpg" or "picture.jpg.supplemental-metadata"."""
_GOOGLE_NUMBER = re.compile(r"^(.*)(\.[^.()]+)(\(\d+\))$")
_GOOGLE_SUFFIX = "supplemental-metadata"
_APPLE_EDITED = re.compile(r"^(img_)[eo](\d+)$")
_NUMBER_BEHIND = re.compile(r"\(\d+\)$")
_SHORTENED = 40
"""Letters of a name that no program shortens."""


@dataclass(frozen=True)
class Companion:
    """A file that belongs to another one; name: as it was given."""

    name: str
    kind: CompanionKind


def companions(names: Iterable[str]) -> dict[str, tuple[Companion, ...]]:
    """Each picture that has companions, with these in the order of their names.

    names: paths with forward slashes, of any kinds of files. RAW and JPEG of a shot are companions
    of each other; films and sidecars are companions of pictures and have none of their own.
    """
    folders: dict[str, list[str]] = {}
    for name in sorted(names):
        folders.setdefault(posixpath.dirname(name), []).append(name)
    return dict(chain.from_iterable(map(_in_folder, folders.values())))


def family_of(name: str) -> str:
    """What a name has in common with all that may be its companions, and with some that are not.

    The folder, and the beginning of the name without what programs put into it.
    """
    stem = posixpath.basename(name).lower().split(".")[0]
    stem = _NUMBER_BEHIND.sub("", stem).removesuffix("-edited")
    apple = _APPLE_EDITED.match(stem)
    stem = apple[1] + apple[2] if apple else stem
    return posixpath.join(posixpath.dirname(name), stem[:_SHORTENED])


def _in_folder(names: list[str]) -> Iterator[tuple[str, tuple[Companion, ...]]]:
    by_stem: dict[str, list[str]] = {}
    sidecars: dict[str, list[str]] = {}
    for name in names:
        stem, extension = _split(name)
        if extension in _SIDECARS:
            for owner in _owners(stem, extension):
                sidecars.setdefault(owner, []).append(name)
        else:
            by_stem.setdefault(stem, []).append(name)
        if extension in _FILMS:  # "a.MP" is the film of "a.MP.jpg"
            by_stem.setdefault(stem + extension, []).append(name)
    for name in names:
        stem, extension = _split(name)
        if extension not in _PICTURES and extension not in RAW_EXTENSIONS:
            continue
        others = {other: kind for other in by_stem[stem] if (kind := _beside(name, other))}
        for owner in _owned_names(stem, extension):
            others |= dict.fromkeys(sidecars.get(owner, []), "sidecar")
        if others:
            yield name, tuple(Companion(*one) for one in sorted(others.items()))


def _beside(name: str, other: str) -> CompanionKind | None:
    """What a file of the same stem is to a picture."""
    (_, ours), (_, theirs) = _split(name), _split(other)
    if ours in _SHOTS and theirs in RAW_EXTENSIONS:
        return "raw"
    if ours in RAW_EXTENSIONS and theirs in _SHOTS:
        return "picture"
    if theirs in _FILMS and (ours in _SHOTS or ours in RAW_EXTENSIONS):
        return "film"
    return None


def _owners(stem: str, extension: str) -> set[str]:
    """Whose sidecar a file may be: the picture's name, its stem, or the beginning of its name.

    stem: of the sidecar, in small letters. Google writes "a.jpg(1).json" for "a(1).jpg", and cuts
    long names off.
    """
    apple = _APPLE_EDITED.match(stem)
    if extension != ".json":
        return {stem, apple[1] + apple[2]} if apple else {stem}
    base, _, suffix = stem.rpartition(".")
    number = re.search(r"\(\d+\)$", suffix)
    plain = suffix[: number.start()] if number else suffix
    if base and len(plain) > 2 and _GOOGLE_SUFFIX.startswith(plain):
        stem = base + (number.group() if number else "")
    numbered = _GOOGLE_NUMBER.match(stem)
    if numbered:
        stem = numbered[1] + numbered[3] + numbered[2]
    return {stem}


def _owned_names(stem: str, extension: str) -> set[str]:
    """The names under which a picture may be told in its sidecars."""
    whole = stem + extension
    names = {whole, stem, whole[:_GOOGLE_NAME]}
    if stem.endswith("-edited"):
        names.add(stem.removesuffix("-edited") + extension)
    apple = _APPLE_EDITED.match(stem)
    if apple:
        names.add(apple[1] + apple[2])
    return names


def _split(name: str) -> tuple[str, str]:
    """The stem and the extension of a path's last part, in small letters."""
    return posixpath.splitext(posixpath.basename(name).lower())
