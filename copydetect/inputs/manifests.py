"""Manifests: CSV or Parquet with a `uri` column and an optional `image_id`."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterator

from copydetect import tables
from copydetect.errors import InputError
from copydetect.storage import Storage
from copydetect.types import Failure, ImageRef, Role


def list_manifest(storage: Storage, uri: str, role: Role) -> tuple[list[ImageRef], list[Failure]]:
    """The images that a manifest names; relative URIs are relative to its folder.

    InputError where it is unreadable or has no `uri` column; a row without one is a failure.
    """
    rows = _parquet_rows if uri.lower().endswith(".parquet") else _csv_rows
    folder = posixpath.dirname(uri)
    refs, failures = [], []
    for number, (image_uri, image_id) in enumerate(rows(storage, uri), start=1):
        if not image_uri:
            name = image_id or f"{posixpath.basename(uri)}#{number}"
            reason = f"row {number} of the manifest has no uri"
            failures.append(Failure(name, uri, "list", "InputError", reason, role))
            continue
        place = _resolve(folder, image_uri)
        refs.append(ImageRef(image_id or _relative(folder, place), place, "", role))
    return refs, failures


def _resolve(folder: str, uri: str) -> str:
    if uri.startswith("file:///"):
        return uri[len("file://") :]
    if "://" in uri or uri.startswith("/"):
        return uri
    relative = posixpath.normpath(uri)
    return f"{folder.rstrip('/')}/{relative}" if folder else relative


def _relative(folder: str, uri: str) -> str:
    prefix = f"{folder.rstrip('/')}/" if folder else ""
    return uri[len(prefix) :] if prefix and uri.startswith(prefix) else uri


def _csv_rows(storage: Storage, uri: str) -> Iterator[tuple[str, str]]:
    """(uri, image_id) of each row; image_id is "" where there is none."""
    try:
        text = storage.read(uri).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [name.strip() for name in next(reader, [])]
        if "uri" not in header:
            raise InputError(_no_uri(uri, header))
        at_uri, at_id = header.index("uri"), _index(header, "image_id")
        for row in reader:
            if row:
                fields = dict(enumerate(row))
                yield fields.get(at_uri, "").strip(), fields.get(at_id, "").strip()
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{uri} is not a readable CSV manifest: {error}") from error


def _parquet_rows(storage: Storage, uri: str) -> Iterator[tuple[str, str]]:
    table = tables.read_table(storage, uri)
    if "uri" not in table.column_names:
        raise InputError(_no_uri(uri, table.column_names))
    ids = table["image_id"] if "image_id" in table.column_names else None
    for row, image_uri in enumerate(table["uri"].to_pylist()):
        image_id = None if ids is None else ids[row].as_py()
        yield str(image_uri or ""), "" if image_id is None else str(image_id)


def _index(header: list[str], name: str) -> int:
    return header.index(name) if name in header else -1


def _no_uri(uri: str, header: list[str]) -> str:
    return f"{uri} is a manifest without a column `uri`: it has {', '.join(header) or 'none'}"
