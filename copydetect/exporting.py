"""Results of a run for scripts: lists, tables, and shards without the copies.

| what | rows |
|---|---|
| drop | images that are suggested for removal; of `match`, queries that are copies |
| keep | all other images that could be read; of `match`, all other queries |
| pairs | pairs of copies, with their evidence |
| groups | members of groups |
| images, failures | those tables |

As `txt` a row is one line: the uri of an image, of one inside a shard "uri#image_id"; a pair is
both uris with a tab between. `shards` writes the tar shards or Parquet files of the input again,
without what is dropped.

Files that lie beside a picture and belong to it (sidecars, films, RAW files) are dropped with it,
in rows of their own that have its image_id in `belongs_to`. A picture with a film or a RAW file is
not dropped where the one that stays has none.
"""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
import tarfile
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from copydetect import tables
from copydetect.errors import InputError, OptionError
from copydetect.inputs.companion_rows import with_companions
from copydetect.inputs.containers import DAMAGED_TAR
from copydetect.results import Result
from copydetect.spelling import suggestion

What = Literal["drop", "keep", "pairs", "groups", "images", "failures"]
Format = Literal["txt", "csv", "jsonl", "parquet", "shards"]

_IMAGE_COLUMNS = ["image_id", "role", "uri", "member", "width", "height", "bytes"]
_KEPT_COLUMNS = ["kept_id", "kept_uri", "reason"]
_ROWS_TOGETHER = 1024


def export_run(result: Result, what: What, file_format: Format, to: str | None = None) -> str:
    """Write rows of a finished run.

    to: a file, or for `shards` a folder, that is made; without it, the text is returned, which
    `parquet` and `shards` do not have. Returns the text, or `to`. OptionError where the arguments
    do not fit each other; InputError where a shard is no longer there.
    """
    _check("what", what, get_args(What))
    _check("format", file_format, get_args(Format))
    if file_format in ("parquet", "shards") and to is None:
        raise OptionError(f"format {file_format} needs --output, the file or folder to write")
    if file_format == "shards":
        return _write_shards(result, str(to))
    rows = _batches_of(result, what)
    if to is None:
        return "".join(_lines(rows, what, file_format))
    os.makedirs(os.path.dirname(to) or ".", exist_ok=True)
    if file_format == "parquet":
        first = next(rows)
        with parquet.ParquetWriter(to, first.schema) as file:
            for batch in chain([first], rows):
                file.write_table(batch)
    else:
        with open(to, "w", encoding="utf-8", errors="surrogateescape", newline="") as text:
            text.writelines(_lines(rows, what, file_format))
    return to


def _batches_of(result: Result, what: What) -> Iterator[pa.Table]:
    """The rows that `what` names, one table at least. Those of a table of the run are held some at
    a time; of images, all that are named are held, about 230 bytes each."""
    if what in ("drop", "keep"):
        yield _images_of(result, what)
        return
    name = "matches" if what == "pairs" else what
    batches = result.batches(name)
    for batch in chain([next(batches, tables.SCHEMAS[name].empty_table())], batches):
        yield batch.filter(batch["is_copy"]) if what == "pairs" else batch


def _images_of(result: Result, what: What) -> pa.Table:
    """Images that are suggested for removal, or all others that could be read."""
    dropped = _dropped(result)
    names, found = dropped["image_id"].combine_chunks(), dict[str, Any]()
    pieces = []
    for batch in result.batches("images"):
        ours = batch.filter(pc.not_equal(batch["role"], "reference"))
        beside = ours.filter(pc.is_valid(ours["companions"])).select(["uri", "companions"])
        found |= {row["uri"]: row["companions"] for row in beside.to_pylist()}
        wanted = pc.is_in(ours["image_id"], names)
        readable = pc.not_equal(ours["status"], "failed")
        named = ours.filter(pc.or_(wanted, readable) if what == "keep" else wanted)
        pieces.append(named.select([*_IMAGE_COLUMNS, "status"]))
    images = pa.concat_tables(pieces)
    joined = images.select(_IMAGE_COLUMNS).join(dropped, "image_id", join_type="inner")
    dropped = with_companions(result.storage, joined.sort_by("image_id"), found)
    if what == "drop":
        return dropped.select([*_IMAGE_COLUMNS, *_KEPT_COLUMNS, "belongs_to"])
    stay = pc.invert(pc.is_in(images["image_id"], dropped["image_id"].combine_chunks()))
    readable = pc.not_equal(images["status"], "failed")
    return images.filter(pc.and_(stay, readable)).select(_IMAGE_COLUMNS).sort_by("image_id")


def _dropped(result: Result) -> pa.Table:
    """The image_ids of images that could be removed, each with the image that stays in its
    place."""
    if result.manifest.command != "match":
        wanted = ["image_id", *_KEPT_COLUMNS, "suggested"]
        members = [one.filter(one["suggested"]) for one in result.batches("groups", wanted)]
        members = members or [tables.SCHEMAS["groups"].empty_table().select(wanted)]
        return pa.concat_tables(members).drop_columns("suggested")
    copies = pa.concat_tables(_batches_of(result, "pairs"))
    copies = copies.sort_by([("confidence", "descending")])
    names = {"query_id": "image_id", "reference_id": "kept_id", "reference_uri": "kept_uri"}
    rows: dict[str, dict[str, Any]] = {}
    for row in copies.select([*names, "reason"]).to_pylist():
        renamed = {names.get(name, name): value for name, value in row.items()}
        rows.setdefault(row["query_id"], renamed)
    schema = pa.schema([(name, pa.string()) for name in ("image_id", *_KEPT_COLUMNS)])
    return pa.Table.from_pylist(list(rows.values()), schema=schema)


def _lines(rows: Iterator[pa.Table], what: What, file_format: Format) -> Iterator[str]:
    first = next(rows)
    if file_format == "csv":
        yield _csv_row(first.column_names)
    batches = (
        batch for table in chain([first], rows) for batch in table.to_batches(_ROWS_TOGETHER)
    )
    for batch in batches:
        for row in batch.to_pylist():
            if file_format == "jsonl":
                yield json.dumps(row, default=str, ensure_ascii=False) + "\n"
            elif file_format == "csv":
                yield _csv_row(list(map(_cell, row.values())))
            else:
                yield _place(row, what) + "\n"


def _place(row: dict[str, Any], what: What) -> str:
    if what == "pairs":
        return f"{row['query_uri']}\t{row['reference_uri']}"
    uri = str(row["uri"])
    return f"{uri}#{row['image_id']}" if row.get("member") else uri


def _csv_row(cells: list[Any]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _write_shards(result: Result, folder: str) -> str:
    """The shards of the input, by their names, without the samples of dropped images."""
    dropped = _images_of(result, "drop")
    gone: dict[str, set[str]] = {}
    for uri, member in zip(dropped["uri"].to_pylist(), dropped["member"].to_pylist(), strict=True):
        gone.setdefault(uri, set()).add(member)
    inside = (
        batch.filter(pc.not_equal(batch["member"], "")).column("uri").unique().to_pylist()
        for batch in result.batches("images", ["uri", "member"])
    )
    shards = sorted({uri for uris in inside for uri in uris})
    if not shards:
        raise InputError(f"{result.output}: the input of this run was not in shards")
    os.makedirs(folder, exist_ok=True)
    for shard, name in zip(shards, _names(shards), strict=True):
        target = os.path.join(folder, name)
        if os.path.exists(target):
            raise InputError(f"{target} exists already: choose an empty folder")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        write = _write_parquet if shard.lower().endswith(".parquet") else _write_tar
        try:
            with result.storage.open(shard) as stream:
                write(stream, target, gone.get(shard, set()))
        except (*DAMAGED_TAR, pa.ArrowInvalid) as error:
            raise InputError(f"cannot read {shard}: {error}") from error
    return folder


def _names(shards: list[str]) -> list[str]:
    """Paths below the folder that holds all shards."""
    root = posixpath.commonpath([posixpath.dirname(shard) for shard in shards])
    return [shard[len(root) :].lstrip("/") for shard in shards]


def _write_tar(shard: BinaryIO, target: str, gone: set[str]) -> None:
    """Copy a tar without samples, which are the members of one name up to its first dot."""
    with tarfile.open(fileobj=shard) as source:
        members = source.getmembers()
        keys = {_key(one.name) for one in members if f"{one.offset_data}:{one.size}" in gone}
        with tarfile.open(target, "w") as copy:
            for member in members:
                if _key(member.name) not in keys:
                    data = source.extractfile(member) if member.isreg() else None
                    copy.addfile(member, data)


def _key(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.split('.')[0]}"


def _write_parquet(shard: BinaryIO, target: str, gone: set[str]) -> None:
    """Copy a Parquet file without rows; `gone` holds "row group:row:column"."""
    rows = {tuple(map(int, member.split(":")[:2])) for member in gone}
    source = parquet.ParquetFile(shard)
    with parquet.ParquetWriter(target, source.schema_arrow) as copy:
        for group in range(source.num_row_groups):
            table = source.read_row_group(group)
            kept = [row for row in range(table.num_rows) if (group, row) not in rows]
            copy.write_table(table.take(pa.array(kept, pa.int64())))


def _check(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        near = suggestion(value, choices)
        raise OptionError(f"{name} is {value!r}, none of {', '.join(choices)}{near}")
