"""Records: a file counts as finished only if it is what its record says."""

from __future__ import annotations

from pathlib import Path

import pytest

from copydetect.storage.records import Record, record_uri, recorded_uri, records_uri
from copydetect.storage.remote import RecordedStorage


@pytest.fixture
def storage(tmp_path: Path) -> RecordedStorage:
    return RecordedStorage(str(tmp_path))


def test_what_is_written_is_whole(storage: RecordedStorage, tmp_path: Path) -> None:
    uri = str(tmp_path / "run" / "matches" / "part")
    assert not storage.is_whole(uri)
    storage.write(uri, b"abc")
    assert storage.is_whole(uri)
    (tmp_path / "local").write_bytes(b"uploaded")
    storage.upload(str(tmp_path / "local"), uri)
    assert storage.is_whole(uri)
    assert storage.read(uri) == b"uploaded"


@pytest.mark.parametrize("content", [b"", b"ab", b"abd", b"abcd"])
def test_what_has_changed_is_not(content: bytes, storage: RecordedStorage, tmp_path: Path) -> None:
    file = tmp_path / "run" / "part"
    storage.write(str(file), b"abc")
    file.write_bytes(content)
    assert not storage.is_whole(str(file))


@pytest.mark.parametrize("record", [b"", b"{", b"[1]", b'{"size_bytes": 3}', b"[" * 100_000])
def test_a_damaged_record_is_none(record: bytes, storage: RecordedStorage, tmp_path: Path) -> None:
    uri = str(tmp_path / "run" / "part")
    storage.write(uri, b"abc")
    Path(record_uri(str(tmp_path), uri)).write_bytes(record)
    assert not storage.is_whole(uri)


def test_records_go_with_their_files(storage: RecordedStorage, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for name in ("search/a", "search/b", "matches/c"):
        storage.write(str(folder / name), b"abc")
    storage.delete(str(folder / "search"))
    storage.delete(str(folder / "matches" / "c"))
    assert not [file for file in folder.rglob("*") if file.is_file()]


def test_only_files_of_the_folder_have_records(tmp_path: Path) -> None:
    storage = RecordedStorage(str(tmp_path / "out"))
    storage.write(str(tmp_path / "elsewhere"), b"{}")
    assert [file.name for file in tmp_path.rglob("*")] == ["elsewhere"]
    assert record_uri("/out", "/out-2/part") == ""
    assert records_uri("/out", "/out/run/search") == "/out/.copydetect/run/search"
    assert recorded_uri("/out", record_uri("/out", "/out/a/b")) == "/out/a/b"


def test_a_record_outlives_its_form() -> None:
    record = Record(3, "0" * 64)
    assert Record.parse(record.to_json()) == record
