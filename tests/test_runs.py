from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from copydetect import runs, tables
from copydetect.errors import InputError, RunError
from copydetect.grouping.places import groups_table
from copydetect.runs import Manifest
from copydetect.storage.files import LocalStorage
from copydetect.types import GroupMember

STORAGE = LocalStorage()


def a_run(output: Path, members: int = 2) -> Manifest:
    rows = [
        GroupMember("g0", f"{i}.jpg", i == 0, i > 0, "identical", "0.jpg", True, "most pixels", 1.0)
        for i in range(2)
    ]
    uri = "run-1/groups/part-00000.parquet"
    images = pa.table({name: [f"{i}.jpg" for i in range(2)] for name in ("image_id", "uri")})
    table = groups_table(rows, images)
    tables.write_table(STORAGE, str(output / uri), table)
    return Manifest("dedup", "run-1", {"k": 10}, {"groups": [uri]}, {"groups": members}, {})


def test_a_committed_manifest_leads_to_the_rows(tmp_path: Path) -> None:
    manifest = a_run(tmp_path)
    manifest.commit(STORAGE, str(tmp_path))
    loaded = Manifest.load(STORAGE, str(tmp_path))
    assert loaded == manifest
    assert loaded.table(STORAGE, str(tmp_path), "groups")["image_id"].to_pylist() == [
        "0.jpg",
        "1.jpg",
    ]


def test_lost_rows_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="2 rows, its manifest says 3"):
        a_run(tmp_path, members=3).table(STORAGE, str(tmp_path), "groups")


def test_no_run_and_a_foreign_manifest_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        Manifest.load(STORAGE, str(tmp_path))
    (tmp_path / runs.MANIFEST).write_text(json.dumps({"name": "something else"}))
    with pytest.raises(InputError, match="not a manifest"):
        Manifest.load(STORAGE, str(tmp_path))


def test_the_folder_follows_settings_and_content() -> None:
    name = runs.run_folder_name({"k": 1}, "digest")
    assert name == runs.run_folder_name({"k": 1}, "digest")
    assert name != runs.run_folder_name({"k": 2}, "digest")
    assert name != runs.run_folder_name({"k": 1}, "other")
