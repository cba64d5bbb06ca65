"""The output folder of a job: checked before work begins, and kept from other runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from copydetect.errors import InputError, OptionError
from copydetect.inputs.sources import Sources


def output_folder(given: str) -> str:
    """The output as a path, or a URI of another scheme, that ends without a slash."""
    if not given:
        raise OptionError("--output is empty: name a folder")
    path = given.removeprefix("file://") if given.startswith("file:///") else given
    return path.rstrip("/") or "/"


def refuse_input_in_output(sources: Sources, output: str) -> None:
    """InputError where the input holds files of the output, as of an earlier run."""
    if "://" in output or "://" in sources.root:
        return
    folder = os.path.realpath(output) + "/"
    if not folder.startswith(os.path.realpath(sources.root).rstrip("/") + "/"):
        return
    for uri in (uri for piece in sources.pieces for uri in piece.uris()):
        if os.path.realpath(uri).startswith(folder):
            raise InputError(f"the input {uri} is in --output {output}: choose another folder")


@contextlib.contextmanager
def alone_in(output: str) -> Iterator[None]:
    """Keep other runs out of a local output folder; one made for nothing does not stay."""
    if "://" in output:
        yield
        return
    existed = os.path.isdir(output)
    os.makedirs(output, exist_ok=True)
    folder = os.open(output, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(folder)
        raise InputError(f"another run is writing to --output {output}") from error
    except OSError:
        # Some network file systems have no locks.
        pass
    try:
        yield
    finally:
        os.close(folder)
        if not existed and not os.listdir(output):
            os.rmdir(output)


def check_writable(output: str) -> None:
    """InputError where the output folder is none or cannot be written; makes nothing."""
    if "://" in output:
        return
    path = Path(output)
    if path.exists() and not path.is_dir():
        raise InputError(f"--output {output} is a file, not a folder")
    existing = next(folder for folder in [path, *path.absolute().parents] if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"cannot write to --output {output}: {error.strerror}") from error
