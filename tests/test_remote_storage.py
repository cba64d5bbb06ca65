"""Beam's file systems as a storage: a file system that is made up, and the local disk."""

from __future__ import annotations

import fnmatch
import io
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem

from copydetect.errors import InputError, OptionError, is_transient
from copydetect.storage import clients
from copydetect.storage.downloads import LIMIT_VARIABLE, cache_limit_bytes
from copydetect.storage.places import storage_for
from copydetect.storage.remote import BeamStorage

FILES: dict[str, bytes] = {}


class _Upload(io.BytesIO):
    """Becomes a file when it is closed, as an object in a bucket does."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            FILES[self._path] = self.getvalue()
        super().close()


@pytest.fixture(autouse=True)
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bucket has been silent so far."""
    monkeypatch.setattr(clients, "_SILENT", {})


class MadeUpFileSystem(FileSystem):
    """Files in memory under made-up://; it has no folders, as buckets have none."""

    @classmethod
    def scheme(cls) -> str:
        return "made-up"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        pass

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for path, data in FILES.items():
            if path.startswith(dir_or_prefix):
                yield FileMetadata(path, len(data))

    def create(self, path: str, mime_type: str = "", compression_type: str = "") -> io.BytesIO:
        return _Upload(path)

    def open(self, path: str, mime_type: str = "", compression_type: str = "") -> io.BytesIO:
        if path not in FILES:
            raise BeamIOError(f"no file {path}")
        return io.BytesIO(FILES[path])

    def copy(self, sources: list[str], destinations: list[str]) -> None:
        raise NotImplementedError

    def rename(self, sources: list[str], destinations: list[str]) -> None:
        raise NotImplementedError

    def exists(self, path: str) -> bool:
        return path in FILES

    def size(self, path: str) -> int:
        return len(FILES[path])

    def last_updated(self, path: str) -> float:
        return 0.0

    def checksum(self, path: str) -> str:
        return str(hash(FILES[path]))

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, len(FILES[path]))

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            del FILES[path]


@pytest.fixture
def bucket() -> Iterator[str]:
    FILES.clear()
    yield f"made-up://{uuid.uuid4().hex}"
    FILES.clear()


STORAGE = BeamStorage()


def test_what_is_written_is_read(bucket: str) -> None:
    uri = f"{bucket}/run/part-00000.parquet"
    assert not STORAGE.exists(uri)
    STORAGE.write(uri, b"rows")
    assert STORAGE.exists(uri)
    assert STORAGE.exists(f"{bucket}/run")
    assert STORAGE.read(uri) == b"rows"
    STORAGE.write(uri, b"other rows")
    assert STORAGE.read(uri) == b"other rows"


def test_files_below_are_listed_with_their_sizes(bucket: str) -> None:
    for name in ("b.jpg", "more/a.jpg", "a.png"):
        STORAGE.write(f"{bucket}/in/{name}", name.encode())
    STORAGE.write(f"{bucket}/input", b"beside")
    found = [(file.uri, file.size_bytes) for file in STORAGE.files_under(f"{bucket}/in/")]
    names = ["a.png", "b.jpg", "more/a.jpg"]
    assert found == [(f"{bucket}/in/{name}", len(name)) for name in names]
    only = [file.uri for file in STORAGE.matching(f"{bucket}/in/*.jpg")]
    assert only == [f"{bucket}/in/b.jpg"]
    assert fnmatch.fnmatch(only[0], "*.jpg")


@pytest.mark.parametrize("pattern", ["**/*.jpg", "a/**/x.jpg", "**.jpg", "a?x.jpg", "a/[!x].jpg"])
def test_a_glob_matches_in_a_bucket_what_it_matches_on_a_disk(
    bucket: str, tmp_path: Path, pattern: str
) -> None:
    names = ["x.jpg", "a/x.jpg", "a/y.jpg", "a/b/x.jpg", "a/b/c/x.jpg", "a/[y].jpg", "b/x.png"]
    for name in names:
        STORAGE.write(f"{bucket}/{name}", b"")
        STORAGE.write(f"{tmp_path}/{name}", b"")
    there, here = (
        [file.uri.removeprefix(f"{place}/") for file in STORAGE.matching(f"{place}/{pattern}")]
        for place in (bucket, str(tmp_path))
    )
    assert there == here
    assert bool(here) == (pattern != "a?x.jpg")


def test_names_with_brackets_are_listed_and_fetched(bucket: str) -> None:
    STORAGE.write(f"{bucket}/b[1]/x[2].jpg", b"content")
    (file,) = STORAGE.files_under(f"{bucket}/b[1]")
    assert Path(STORAGE.local_path(file.uri)).read_bytes() == b"content"


def test_deleting_takes_a_folder_with_all_below_and_forgives_what_is_gone(bucket: str) -> None:
    for name in ("x/1", "x/y/2", "z"):
        STORAGE.write(f"{bucket}/{name}", b"")
    STORAGE.delete(f"{bucket}/x")
    STORAGE.delete(f"{bucket}/x")
    STORAGE.delete(f"{bucket}/none")
    assert list(FILES) == [f"{bucket}/z"]


def test_uploads_move_and_downloads_are_kept(bucket: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    local = tmp_path / "shard"
    local.write_bytes(b"index")
    uri = f"{bucket}/shard"
    STORAGE.upload(str(local), uri)
    assert not local.exists()
    path = STORAGE.local_path(uri)
    assert Path(path).read_bytes() == b"index"
    assert STORAGE.local_path(uri) == path


def _cached(bucket: str, name: str, size: int, age_seconds: float) -> Path:
    """A download of so many bytes, last used so long ago."""
    STORAGE.write(f"{bucket}/{name}", bytes(size))
    path = Path(STORAGE.local_path(f"{bucket}/{name}"))
    used = time.time() - age_seconds
    os.utime(path, (used, used))
    return path


def test_the_cache_drops_what_was_used_least_recently(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv(LIMIT_VARIABLE, "1e-6")
    old = _cached(bucket, "old", 400, 7200)
    older = _cached(bucket, "older", 400, 9000)
    again = Path(STORAGE.local_path(f"{bucket}/older"))
    assert again == older
    # The older one has just been used: room is made at the cost of the other.
    new = _cached(bucket, "new", 500, 0)
    assert [path.exists() for path in (old, older, new)] == [False, True, True]
    # What is in use stays, even over the limit.
    more = _cached(bucket, "more", 900, 0)
    assert [path.exists() for path in (older, new, more)] == [True, True, True]
    assert Path(STORAGE.local_path(f"{bucket}/old")).read_bytes() == bytes(400)


def test_a_file_that_was_replaced_or_cut_is_fetched_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uri = f"{bucket}/shard"
    STORAGE.write(uri, b"first")
    first = Path(STORAGE.local_path(uri))
    STORAGE.write(uri, b"other")
    assert Path(STORAGE.local_path(uri)).read_bytes() == b"other"
    STORAGE.write(uri, b"first")
    first.write_bytes(b"fi")
    assert Path(STORAGE.local_path(uri)).read_bytes() == b"first"


def test_a_download_that_ends_early_leaves_nothing(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    STORAGE.write(f"{bucket}/shard", b"whole")
    monkeypatch.setattr(BeamStorage, "open", lambda self, uri: io.BytesIO(b"who"))
    with pytest.raises(InputError, match="3 bytes came instead of 5"):
        STORAGE.local_path(f"{bucket}/shard")
    assert not list((tmp_path / "copydetect-cache").iterdir())


@pytest.mark.parametrize("text", ["much", "-1", "nan"])
def test_a_limit_that_is_none_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(OptionError, match=f"{LIMIT_VARIABLE} is '{text}'"):
        cache_limit_bytes()


def test_missing_files_and_unknown_schemes_are_named(bucket: str) -> None:
    with pytest.raises(InputError, match="none"):
        STORAGE.read(f"{bucket}/none")
    with pytest.raises(InputError, match="none"):
        STORAGE.local_path(f"{bucket}/none")
    with pytest.raises(InputError, match="nowhere"):
        STORAGE.read("nowhere://place")


def test_paths_without_a_scheme_are_local(tmp_path: Path) -> None:
    STORAGE.write(f"{tmp_path}/folder/file", b"data")
    assert (tmp_path / "folder" / "file").read_bytes() == b"data"
    assert isinstance(storage_for("made-up://place"), BeamStorage)
    assert not isinstance(storage_for(str(tmp_path)), BeamStorage)


def test_a_bucket_that_did_not_answer_for_minutes_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, asked = [0.0], []

    def silent(self: MadeUpFileSystem, path: str, *_: object, **__: object) -> io.BytesIO:
        asked.append(path)
        clock[0] += 100.0
        raise BeamIOError("no route to host")

    monkeypatch.setattr(MadeUpFileSystem, "open", silent)
    monkeypatch.setattr(clients.time, "monotonic", lambda: clock[0])
    for name in ("a", "b", "c"):
        with pytest.raises(InputError, match=f"/{name}: .*no route to host") as caught:
            BeamStorage().open(f"made-up://bucket/{name}")
        assert is_transient(caught.value)
    with pytest.raises(InputError):
        BeamStorage().open("made-up://another/a")
    assert asked == ["made-up://bucket/a", "made-up://another/a"]


def test_what_a_bucket_lacks_does_not_silence_it() -> None:
    FILES["made-up://bucket/there"] = b"abc"
    with pytest.raises(InputError, match="no file"):
        BeamStorage().open("made-up://bucket/gone")
    assert BeamStorage().read("made-up://bucket/there") == b"abc"


def test_without_credentials_s3_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "_has_s3_credentials", lambda: False)
    with pytest.raises(InputError, match="no credentials for s3://"):
        BeamStorage().open("s3://bucket/a.jpg")
    with pytest.raises(InputError, match="no credentials for s3://"):
        BeamStorage().matching("s3://bucket/*.jpg")
