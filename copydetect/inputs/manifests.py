"""Manifests: CSV or Parquet with a `uri` column and an optional `image_id`."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterator

from copydetect.errors import InputError
from copydetect.inputs.containers import open_parquet
from copydetect.storage.files import Storage
from copydetect.types import Failure, ImageRef, Role

_ROWS_TOGETHER = 8192


def manifest_rows(storage: Storage, uri: str, role: Role) -> Iterator[ImageRef | Failure]:
    """The images that a manifest names, as it is read; relative URIs are relative to its folder.

    InputError where it is unreadable, from there on, or has no `uri` column; a row without one is a
    failure.
    """
    rows = _parquet_rows if uri.lower().endswith(".parquet") else _csv_rows
    folder = posixpath.dirname(uri)
    for number, (image_uri, image_id) in enumerate(rows(storage, uri), start=1):
        if image_uri:
            place = _resolve(folder, image_uri)
            yield ImageRef(image_id or _relative(folder, place), place, "", role)
        else:
            name = image_id or f"{posixpath.basename(uri)}#{number}"
            reason = f"row {number} of the manifest has no uri"
            yield Failure(name, uri, "list", "InputError", reason, role)


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
        with io.TextIOWrapper(storage.open(uri), "utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if "uri" not in header:
                raise InputError(_no_uri(uri, header))
            at_uri, at_id = header.index("uri"), _index(header, "image_id")
            for row in reader:
                if row:
                    fields = dict(enumerate(row))
                    yield fields.get(at_uri, "").strip(), fields.get(at_id, "").strip()
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise InputError(f"{uri} is not a readable CSV manifest: {error}") from error


def _parquet_rows(storage: Storage, uri: str) -> Iterator[tuple[str, str]]:
    with open_parquet(storage, uri) as file:
        names = file.schema_arrow.names
        if "uri" not in names:
            raise InputError(_no_uri(uri, names))
        columns = ["uri", *(["image_id"] if "image_id" in names else [])]
        for batch in file.iter_batches(_ROWS_TOGETHER, columns=columns, use_threads=False):
            for row in batch.to_pylist():
                image_id = row.get("image_id")
                yield str(row["uri"] or ""), "" if image_id is None else str(image_id)


def _index(header: list[str], name: str) -> int:
    return header.index(name) if name in header else -1


def _no_uri(uri: str, header: list[str]) -> str:
    return f"{uri} is a manifest without a column `uri`: it has {', '.join(header) or 'none'}"
