"""A catalogue in a bucket: the nights of one on a disk, and one process at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import copydetect
from copydetect.catalog.pointer import POINTER, Pointer, leased, move_pointer
from copydetect.errors import CatalogBusyError, InputError
from copydetect.pipelines.commands import nightly as nightly_command
from copydetect.storage.leases import Holder
from copydetect.storage.remote import RecordedStorage
from tests import stores
from tests.conftest import Planted
from tests.planted_nights import FAST, FIRST, Nights, bring, groups_of, verdicts_of
from tests.stores import Bucket


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with stores.amazon() as one:
        yield one


@pytest.fixture(scope="module")
def catalog(bucket: Bucket, planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A catalogue of two nights, as `planted_nights` makes one on the disk."""
    folder, photos = f"{bucket.uri}/cat", tmp_path_factory.mktemp("new")
    for names in (FIRST, planted.names):
        bring(planted, names, photos)
        _night(bucket, folder, photos, keep_generations=1)
    return folder


def _night(bucket: Bucket, folder: str, photos: Path, **more: Any) -> copydetect.NightSummary:
    engine = copydetect.EngineOptions(bucket.flags, workers=1)
    return copydetect.nightly(folder, photos, **{**FAST, "engine": engine, **more})


def test_nights_in_a_bucket_give_what_they_give_on_a_disk(
    catalog: str, nights: Nights, planted: Planted
) -> None:
    opened = copydetect.open_catalog(catalog)
    assert opened.generation.number == 2
    assert groups_of(opened) == groups_of(nights.catalog)
    said = {
        frozenset((row["query_id"], row["reference_id"])): (row["is_copy"], row["confidence"])
        for row in opened.matches.to_pylist()
    }
    assert said == verdicts_of(nights.catalog)
    assert not opened.verify()
    found = opened.search(planted.folder / "0.jpg")
    copies = {match.reference_id for match in found if match.is_copy}
    assert copies == next(group for group in planted.groups if "0.jpg" in group)


def test_what_only_older_nights_were_made_of_is_gone(catalog: str) -> None:
    generation = copydetect.open_catalog(catalog).generation
    needed = {f"{catalog}/{entry.path}" for entry in generation.entries()}
    storage = RecordedStorage(catalog)
    there = {file.uri for file in storage.files_under(catalog) if "/.copydetect/" not in file.uri}
    assert needed <= there
    assert needed <= {uri for n in (1, 2) for uri in storage.recorded(f"{catalog}/gen-00000{n}")}
    assert not [uri for uri in there if "/gen-000001/" in uri and uri not in needed]
    assert not [uri for uri in there if "/ordered/" in uri or "/described/" in uri]


def test_the_second_of_two_at_once_says_so(
    bucket: Bucket, catalog: str, planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"{catalog}/lease.json"
    free = bucket.storage.read(uri)
    held = Holder(70, time.time() + 60, "elsewhere", "", 12, "another")
    bucket.storage.write(uri, held.to_json())
    words = ["--catalog", catalog, "--input", str(planted.folder), "--effort=fast", "--quiet"]
    assert nightly_command.main([*words, "--workers=1", *bucket.flags]) == 4
    assert "process 12 on elsewhere" in capsys.readouterr().err
    bucket.storage.write(uri, free)


def test_a_night_whose_lease_was_taken_commits_nothing(bucket: Bucket, catalog: str) -> None:
    storage = RecordedStorage(catalog)
    before, pointer = storage.read(f"{catalog}/{POINTER}"), Pointer.load(storage, catalog)
    generation = copydetect.open_catalog(catalog).generation
    uri = f"{catalog}/lease.json"
    with leased(catalog) as lease:
        taken = Holder(lease.token + 1, time.time() + 60, "elsewhere", "", 12, "another")
        storage.write(uri, taken.to_json())
        with pytest.raises(CatalogBusyError, match="nothing was committed"):
            move_pointer(storage, catalog, lease, pointer, replace(generation, number=2))
    assert storage.read(f"{catalog}/{POINTER}") == before
    storage.write(uri, replace(taken, until=0.0).to_json())


def test_a_store_without_conditional_writes_holds_no_catalogue(planted: Planted) -> None:
    with pytest.raises(InputError, match="conditional writes"):
        copydetect.nightly("hdfs://somewhere/cat", planted.folder, **FAST)
