"""The output folder of a job: checked before work begins, and locked against other runs."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from copydetect.errors import InputError, OptionError, TransientError
from copydetect.inputs.input_specs import INPUTS
from copydetect.inputs.sources import Sources
from copydetect.options import RunOptions
from copydetect.runs import MANIFEST, join
from copydetect.storage.leases import BucketLease, leased
from copydetect.storage.locks import locked
from copydetect.storage.records import RECORDS, record_uri, remove_unfinished, stranger_in

_LEASE = "lease"


def output_folder(given: str) -> str:
    """The output as a path, or a URI of another scheme, that ends without a slash."""
    if not given:
        raise OptionError("the output is empty: name a folder")
    path = given.removeprefix("file://") if given.startswith("file:///") else given
    return path.rstrip("/") or "/"


def whole_path(given: str) -> str:
    """A path from the root on; a URI of another scheme as it is."""
    return given if "://" in given else os.path.abspath(given)


def with_whole_paths(options: RunOptions) -> RunOptions:
    """The same options, whose files are found from any folder."""
    names = ("model", "background", "calibration")
    given = {name: getattr(options, name) for name in names}
    paths = {name: value for name, value in given.items() if value and os.path.exists(value)}
    return options.changed(**{name: whole_path(value) for name, value in paths.items()})


def refuse_input_in_output(sources: Sources, output: str) -> None:
    """InputError where an input holds files of the output, as of an earlier run.

    Images that were given as bytes, and are kept there, are no such files.
    """
    if "://" in output:
        return
    folder = os.path.realpath(output) + "/"
    given = f"{folder}{INPUTS}/"
    for piece in sources.pieces:
        root = os.path.realpath(piece.root).rstrip("/") + "/"
        if "://" in piece.root or not (folder.startswith(root) or root.startswith(folder)):
            continue
        for uri in map(os.path.realpath, piece.uris()):
            if uri.startswith(folder) and not uri.startswith(given):
                raise InputError(f"the input {uri} is in the output folder {output}")


@contextlib.contextmanager
def alone_in(output: str) -> Iterator[BucketLease | None]:
    """Keep other runs out of an output folder, in a bucket by the lease that this gives;
    TransientError where there is one. A local folder that was made and stays empty is removed."""
    if "://" in output:
        with leased(output, join(output, RECORDS, _LEASE)) as lease:
            yield lease
        return
    existed = os.path.isdir(output)
    os.makedirs(output, exist_ok=True)
    busy = TransientError(f"another run is writing to the output folder {output}")
    with locked(output, busy):
        try:
            remove_unfinished(output)
            yield None
        finally:
            if not existed and not os.listdir(output):
                os.rmdir(output)


def refuse_foreign(output: str) -> None:
    """InputError where the folder holds files, but no earlier run, or the manifest of others."""
    if "://" in output:
        return
    manifest = join(output, MANIFEST)
    if os.path.exists(manifest) and not os.path.exists(record_uri(output, manifest)):
        stranger = MANIFEST
    else:
        stranger = stranger_in(output)
    if stranger:
        raise InputError(
            f"the output folder {output} holds other files, such as {stranger}: give a new or an "
            "empty one. Only what copydetect made is ever replaced or deleted"
        )


def check_writable(output: str) -> None:
    """InputError where the output folder is none or cannot be written; makes nothing."""
    if "://" in output:
        return
    path = Path(output)
    if path.exists() and not path.is_dir():
        raise InputError(f"the output {output} is a file, not a folder")
    existing = next(folder for folder in [path, *path.absolute().parents] if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"cannot write to the output folder {output}: {error.strerror}") from error
