"""Files of models and backgrounds, wherever they are: those in a bucket are fetched once a machine.

A model has files beside it that share its name: its card, its graph, its background. Downloads are
kept by their content, so names lead to them from a folder of links.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import tempfile
import uuid
from pathlib import Path

from copydetect.errors import InputError, ModelError
from copydetect.storage.places import storage_for

_BESIDE = (".json", ".onnx", ".background.safetensors")


def local_file(path_or_uri: str) -> Path:
    """A path to read a file at; ModelError where it is in a bucket and cannot be had."""
    if "://" not in path_or_uri:
        return Path(path_or_uri)
    try:
        return Path(storage_for(path_or_uri).local_path(path_or_uri))
    except InputError as error:
        raise ModelError(str(error)) from error


def local_model(uri: str) -> Path:
    """The path of a model that is in a bucket, with what is beside it there; ModelError where there
    is none."""
    folder, _, name = uri.rpartition("/")
    stem = f"{folder}/{Path(name).stem}"
    wanted = {uri, *(stem + suffix for suffix in _BESIDE)}
    try:
        found = [file.uri for file in storage_for(uri).matching(glob.escape(stem) + ".*")]
    except InputError as error:
        raise ModelError(str(error)) from error
    if uri not in found:
        raise ModelError(f"no model {uri!r}: there is no such file")
    fetched = {one.rpartition("/")[2]: local_file(one) for one in found if one in wanted}
    contents = "".join(f"{name} {path}\n" for name, path in sorted(fetched.items()))
    key = hashlib.sha256(contents.encode()).hexdigest()
    place = Path(tempfile.gettempdir()) / "copydetect-models" / key
    place.mkdir(parents=True, exist_ok=True)
    for one, path in fetched.items():
        _link(place / one, path)
    return place / name


def _link(link: Path, path: Path) -> None:
    """Have a name lead to a file, whichever processes do so at the same time."""
    made = link.with_name(f".{link.name}.{uuid.uuid4().hex}")
    try:
        made.symlink_to(path)
        os.replace(made, link)
    finally:
        with contextlib.suppress(OSError):
            made.unlink()
