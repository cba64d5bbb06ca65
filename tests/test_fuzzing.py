"""Damaged files of every kind that is read: one expected error each, no traceback and no hang.

Whole files are cut, overwritten, repeated and mixed; JSON is changed value by value as well. A
quick round runs with the tests; FUZZ_SECONDS=600 gives each reader ten minutes.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from copydetect import tables
from copydetect.description.descriptors import BUNDLED_MODELS, DEFAULT_MODEL
from copydetect.description.model_cards import ModelCard
from copydetect.errors import CopydetectError, InputError
from copydetect.evaluation.ground_truth import read_predictions, read_truth
from copydetect.images.decoding import decode
from copydetect.index.shards import load_index
from copydetect.index.spills import open_spill, read_arrays, read_records, write_arrays, write_spill
from copydetect.inputs.containers import _tar_members
from copydetect.inputs.finding import find_sources
from copydetect.inputs.sources import read_source
from copydetect.runs import Manifest
from copydetect.storage.files import LocalStorage
from copydetect.storage.records import Record, names_record, recorded_names
from copydetect.verification.calibration import Calibration
from tests.conftest import STORAGE, encoded
from tests.scenes import scene

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0.4"))
LONGEST_SECONDS = 20.0

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name, whole files of it, and what reads one."""

    name: str
    whole: list[bytes]
    read: Read


def read_input(path: Path) -> object:
    """As a job does: find it, list it, read all of it."""
    sources = find_sources(STORAGE, str(path))
    return [content for piece in sources.pieces for _, content in read_source(STORAGE, piece)]


def read_manifest(path: Path) -> object:
    return Manifest.load(STORAGE, str(path.parent))


def read_card(path: Path) -> object:
    return ModelCard.from_json(path.read_text("utf-8", "replace"), str(path))


def read_record(path: Path) -> object:
    record = Record.parse(path.read_bytes())
    if record is None:
        raise InputError("no record")
    return record


def read_names(path: Path) -> object:
    found = recorded_names("out", "out/.copydetect/images/0.names", path.read_bytes())
    assert all(os.path.normpath(name).startswith("out/images/") for name in found)
    if not found:
        raise InputError("no names")
    return found


def read_spill(path: Path) -> object:
    spill = open_spill(STORAGE, str(path))
    return read_records(STORAGE, spill, 0, len(spill))


def read_index(path: Path) -> object:
    return load_index(STORAGE, str(path.parent))


def tar_of(pax: dict[str, str] | None = None, kind: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as tar:
        for number in range(3):
            content = encoded(scene(number, 16, 12))
            info = tarfile.TarInfo(f"{'long' * 30}/{number}.jpg")
            info.size, info.pax_headers = len(content), pax or {}
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def parquet_of(table: pa.Table, **options: Any) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(table, stream, **options)
    return stream.getvalue()


def csv_of(*rows: list[str]) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows(rows)
    return stream.getvalue().encode()


def written(name: str, write: Callable[[LocalStorage, str], object], folder: Path) -> bytes:
    write(STORAGE, str(folder / name))
    return (folder / name).read_bytes()


def kinds(folder: Path) -> dict[str, Kind]:
    """Every kind of file, with a few whole ones each."""
    return {kind.name: kind for kind in (*own_kinds(folder), *given_kinds())}


def own_kinds(folder: Path) -> list[Kind]:
    """The files that a run leaves for itself."""
    records = np.zeros(20, [("list", "<i8"), ("code", "u1", (4,))])
    spill = written(
        "a", lambda s, u: write_spill(s, u, np.arange(20) // 5, records, {"content": "x"}), folder
    )
    arrays = written("b", lambda s, u: write_arrays(s, u, ["x", 1], a=np.arange(50)), folder)
    manifest = Manifest("dedup", "run-0", {"k": 1}, {"images": ["a"]}, {"images": 1}, {"list": 1.0})
    shard = {"name": "x", "vectors": 1, "bytes": 1, "sha256": "", "first_list": 0, "last_list": 0}
    index = {"partition": "p", "model": "m", "codes": "Flat", "metric": "l2", "lists": 1}
    index |= {"dimension": 2, "shards": [{**shard, "lowest_id": 0, "highest_id": 0}]}
    calibration = json.loads((BUNDLED_MODELS / "calibration-match-confidence.json").read_bytes())
    calibration |= {"points": calibration["points"][:3], "reliability": {}, "thresholds": {}}
    return [
        Kind("manifest.json", [json.dumps(asdict(manifest)).encode()], read_manifest),
        Kind("card.json", [(BUNDLED_MODELS / f"{DEFAULT_MODEL}.json").read_bytes()], read_card),
        Kind(
            "calibration.json",
            [json.dumps(calibration).encode()],
            lambda path: Calibration.load(STORAGE, str(path)),
        ),
        Kind("index.json", [json.dumps(index).encode()], read_index),
        Kind("record.json", [Record(3, "0" * 64).to_json()], read_record),
        Kind("names.json", [names_record(["a/b.jpg", "c.jpg"])], read_names),
        Kind("part.spill", [spill], read_spill),
        Kind("arrays.npz", [arrays], lambda path: read_arrays(STORAGE, str(path))),
    ]


def given_kinds() -> list[Kind]:
    """The files that users give, and the tables that they and runs read."""
    names = [f"{n}.jpg" for n in range(40)]
    embedded = pa.table({"image_id": names, "image": [encoded(scene(1, 16, 12))] * 40})
    listed = pa.table({"uri": names, "image_id": [f"id {n}" for n in range(40)]})
    failures = tables.rows_to_table([], tables.FAILURES)
    return [
        Kind("photos.csv", [csv_of(["uri", "image_id"], *([n, n] for n in names))], read_input),
        Kind(
            "shard.tar",
            [tar_of(), tar_of({"comment": "x"}), tar_of(kind=tarfile.GNU_FORMAT)],
            read_input,
        ),
        Kind(
            "photos.parquet",
            [parquet_of(embedded, row_group_size=16), parquet_of(listed), parquet_of(listed[:1])],
            read_input,
        ),
        Kind(
            "table.parquet",
            [parquet_of(failures, compression="zstd"), parquet_of(listed, compression="zstd")],
            lambda path: tables.read_table(STORAGE, str(path)),
        ),
        Kind("truth.csv", [csv_of(["query_id", "reference_id"], ["a", "b"])], read_truths),
        Kind(
            "image",
            [encoded(scene(1, 40, 30), kind) for kind in ("jpeg", "png", "gif", "webp", "tiff")]
            + [encoded(scene(1, 40, 30), kind) for kind in ("bmp", "avif")],
            lambda path: decode(path.read_bytes(), 448),
        ),
    ]


def read_truths(path: Path) -> object:
    try:
        return read_truth(STORAGE, str(path))
    except InputError:
        return read_predictions(STORAGE, str(path))


KINDS = [
    "manifest.json", "card.json", "calibration.json", "index.json", "record.json", "names.json",
    "part.spill",
    "arrays.npz", "photos.csv", "shard.tar", "photos.parquet", "table.parquet", "truth.csv",
    "image",
]  # fmt: skip

ODD: list[Any] = [
    None, True, -1, 0, 16.5, 1e308, 10**400, float("nan"), float("-inf"), "", "x" * 5000, "\0",
    "../..", [], [[]], {}, {"a": None}, [None],
]  # fmt: skip


def changed_json(rng: random.Random, value: Any) -> Any:
    """The same with one value, at any depth, replaced, removed or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if rng.random() < 0.05:
            return {**value, "stranger": 1}
        return {**value, key: changed_json(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        return [*value[:place], changed_json(rng, value[place]), *value[place + 1 :]]
    return rng.choice(ODD)


def damaged(rng: random.Random, whole: list[bytes]) -> bytes:
    """One of these files after one to four accidents."""
    data = rng.choice(whole)
    for _ in range(rng.randint(1, 4)):
        start, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        how = rng.randrange(9)
        if how == 0:
            data = data[:start]
        elif how == 1:
            data = data[:start] + data[stop:]
        elif how == 2:
            data = data[:stop] + data[start:]
        elif how == 3:
            other = rng.choice(whole)
            data = data[:start] + other[min(start, len(other)) :]
        elif how == 4:
            data = data[:start] + bytes(min(stop - start, 64)) + data[start + 64 :]
        elif how == 5:
            data = (
                data[:start] + rng.choice([b"\xff", b"[", b'"', b"9", b"\n"]) * 300 + data[start:]
            )
        else:
            some = bytearray(data)
            for _ in range(rng.randint(1, 8)):
                if some:
                    some[rng.randrange(len(some))] = rng.randrange(256)
            data = bytes(some)
    return data


def files_of(kind: Kind, rng: random.Random) -> Iterator[bytes]:
    yield from kind.whole
    yield from (b"", b"\0", b"null", b"[" * 100_000, b"{", b"\xef\xbb\xbf", b"PAR1" * 3)
    while True:
        if kind.name.endswith(".json") and rng.random() < 0.7:
            yield json.dumps(changed_json(rng, json.loads(kind.whole[0]))).encode()
        else:
            yield damaged(rng, kind.whole)


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_give_expected_errors_only(name: str, tmp_path: Path) -> None:
    kind = kinds(tmp_path)[name]
    folder = tmp_path / "files"
    folder.mkdir()
    path = folder / name
    rng = random.Random(int(os.environ.get("FUZZ_SEED", "0")))
    read, refused, end = 0, 0, time.monotonic() + SECONDS
    for data in files_of(kind, rng):
        path.write_bytes(data)
        started = time.monotonic()
        try:
            kind.read(path)
        except CopydetectError:
            refused += 1
        except BaseException:
            print(f"{name}: {len(data)} bytes: {data[:2000]!r}")
            raise
        read += 1
        assert time.monotonic() - started < LONGEST_SECONDS, data[:200]
        if time.monotonic() > end and read > 20:
            break
    assert read > refused >= 5, (read, refused)
    assert [file.name for file in folder.iterdir()] == [name]
    print(f"{name}: {read} files, {refused} refused")


def test_a_length_that_no_machine_can_hold_is_a_damaged_tar(tmp_path: Path) -> None:
    whole = tar_of({"comment": "x" * 300})
    length = re.search(rb"(\d+) comment=", whole)
    assert length
    start, absurd = length.start(), b"9" * 40 + b" comment="
    path = tmp_path / "shard.tar"
    path.write_bytes(whole[:start] + absurd + whole[start + len(absurd) :])
    refused = "a length that no file has"
    if sys.version_info >= (3, 13):  # there tarfile refuses the header itself
        refused = "not a readable tar file: invalid header"
    with pytest.raises(InputError, match=rf"shard\.tar.*{refused}"):
        read_input(path)


def test_a_tar_that_goes_on_beyond_what_a_file_can_hold_says_so(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(tar_of({"size": "9" * 40}))
    with path.open("rb") as stream, pytest.raises(tarfile.ReadError, match="that no file has"):
        list(_tar_members(stream))
