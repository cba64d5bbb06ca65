"""Names with wildcards and braces, and which names a glob leaves out."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
from collections.abc import Sequence

from copydetect.errors import InputError

_LARGEST_RANGE = 1_000_000
_BRACES = re.compile(r"\{(?:(?P<first>\d+)\.\.(?P<last>\d+)|(?P<words>[^{},]*(?:,[^{},]*)+))\}")


def expand_braces(spec: str) -> list[str]:
    """`shard-{000..012}.tar` and `{a,b}.tar` as the names that they stand for; InputError.

    A range keeps its leading zeros; what else stands in braces is part of the name.
    """
    found = _BRACES.search(spec)
    if not found:
        return [spec]
    before, after = spec[: found.start()], spec[found.end() :]
    if found["words"]:
        words = found["words"].split(",")
    else:
        first, last = int(found["first"]), int(found["last"])
        if not 0 <= last - first < _LARGEST_RANGE:
            raise InputError(
                f"{spec}: the range {found[0]} must go up, by at most {_LARGEST_RANGE:,}"
            )
        width = len(found["first"])
        words = [f"{number:0{width}d}" for number in range(first, last + 1)]
    return [name for word in words for name in expand_braces(f"{before}{word}{after}")]


def is_excluded(name: str, globs: Sequence[str]) -> bool:
    """Whether a glob matches a path below the root of its input, or its last part."""
    return any(
        fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(posixpath.basename(name), glob)
        for glob in globs
    )


def is_glob(spec: str) -> bool:
    """Whether a name has wildcards."""
    return any(letter in spec for letter in "*?[")


def refuse_missing(given: object) -> None:
    """InputError for a path on this machine that is not there: told before anything is loaded.

    given: one path or several; whatever else it is, as pairs with bytes, is checked later.
    """
    several = given if isinstance(given, (list, tuple)) else [given]
    paths = [os.fspath(one) for one in several if isinstance(one, (str, os.PathLike))]
    for path in map(without_file_scheme, paths):
        is_name = path and "://" not in path and "{" not in path and not is_glob(path)
        if is_name and not os.path.lexists(path):
            raise InputError(f"{path} does not exist")


def without_file_scheme(spec: str) -> str:
    """`file:///a` as the path `/a`."""
    return spec[len("file://") :] if spec.startswith("file:///") else spec
