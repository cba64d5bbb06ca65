"""Records: a file counts as finished only if it is what its record says."""

from __future__ import annotations

from pathlib import Path

import pytest

from copydetect.errors import InputError
from copydetect.storage import files
from copydetect.storage.records import (
    RECORDS,
    Record,
    record_uri,
    recorded_files,
    recorded_uri,
    records_uri,
)
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


def test_scratch_does_not_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, settled = RecordedStorage(str(tmp_path), scratch=["search", "index/made"]), []
    monkeypatch.setattr(files, "_settle", settled.append)
    for name in ("search/a/part", "index/made/part"):
        file = tmp_path / "run" / name
        storage.write(str(file), b"abc")
        (tmp_path / "local").write_bytes(b"uploaded")
        storage.upload(str(tmp_path / "local"), str(file))
        assert not settled
        file.write_bytes(b"")  # as a loss of power may leave it
        assert not storage.is_whole(str(file))
        storage.write(str(file), b"again")
        assert storage.is_whole(str(file))
    for name in ("run/searched", "run/index/part", "search/part"):
        storage.write(str(tmp_path / name), b"abc")
    assert len(settled) == 6


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


def files_below(folder: Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def test_files_that_are_written_together_have_one_record(
    storage: RecordedStorage, tmp_path: Path
) -> None:
    folder = str(tmp_path / "images")
    for number in range(3):
        files = {f"{number}/{n}.jpg": b"%d" % n for n in range(20)}
        storage.write_together(folder, files)
        storage.write_together(folder, files)  # as by a run that was interrupted
    assert len(list((tmp_path / RECORDS).rglob("*.names"))) == 3
    assert len(recorded_files(str(tmp_path), folder)) == 60
    assert storage.read(f"{folder}/2/7.jpg") == b"7"
    (tmp_path / "images" / "2" / "mine.jpg").write_bytes(b"the user's")
    storage.delete(folder)
    assert files_below(tmp_path) == ["images/2/mine.jpg"]


def test_of_files_written_together_none_replaces_that_of_a_user(
    storage: RecordedStorage, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "b.jpg").write_bytes(b"the user's")
    with pytest.raises(InputError, match=r"b\.jpg was not made by copydetect"):
        storage.write_together(str(tmp_path / "images"), {"a.jpg": b"a", "b.jpg": b"b"})
    assert files_below(tmp_path) == ["images/b.jpg"]
    storage.write_together(str(tmp_path / "images"), {"a.jpg": b"a", "c.jpg": b"c"})
    storage.write_together(str(tmp_path / "images"), {"c.jpg": b"new", "d.jpg": b"d"})
    assert (tmp_path / "images" / "c.jpg").read_bytes() == b"new"


@pytest.mark.parametrize(
    "record",
    [b"", b"[", b'["victim"]', b'{"names": ["../victim", "/victim", "..", "", "a/../../victim"]}'],
)
def test_a_record_of_names_that_was_changed_deletes_nothing_elsewhere(
    record: bytes, storage: RecordedStorage, tmp_path: Path
) -> None:
    storage.write_together(str(tmp_path / "images"), {"a.jpg": b"a"})
    (tmp_path / "victim").write_bytes(b"the user's")
    (tmp_path / "images" / "victim").write_bytes(b"the user's")
    (noted,) = (tmp_path / RECORDS).rglob("*.names")
    noted.write_bytes(record)
    storage.delete(str(tmp_path / "images"))
    assert {"victim", "images/victim"} <= set(files_below(tmp_path))


def test_a_record_outlives_its_form() -> None:
    record = Record(3, "0" * 64)
    assert Record.parse(record.to_json()) == record
