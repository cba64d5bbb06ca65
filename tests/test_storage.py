"""The local disk with everything that a user's disk has: links, pipes, and files that vanish."""

import contextlib
import os
import socket
import threading

import pytest

from copydetect.errors import InputError
from copydetect.storage.files import LocalStorage


@pytest.fixture
def storage():
    return LocalStorage()


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def open_quietly(storage, uri):
    with contextlib.suppress(InputError):
        storage.open(uri).close()


def below(storage, folder):
    return [os.path.relpath(file.uri, folder) for file in storage.files_under(str(folder))]


def test_lists_visible_files_sorted_with_sizes(storage, tmp_path):
    make(tmp_path, "b/2.jpg", "a.jpg", "b/c/3.jpg", ".hidden.jpg", ".git/x.jpg", "b/.x/y.jpg")
    assert below(storage, tmp_path) == ["a.jpg", "b/2.jpg", "b/c/3.jpg"]
    assert [file.size_bytes for file in storage.files_under(str(tmp_path))] == [5, 7, 9]
    assert storage.files_under(f"{tmp_path}//") == storage.files_under(str(tmp_path))
    assert storage.files_under(str(tmp_path / "a.jpg")) == []
    assert storage.files_under(str(tmp_path / "nowhere")) == []


def test_links_neither_loop_nor_show_a_file_twice(storage, tmp_path):
    make(tmp_path, "in/z/1.jpg", "out/2.jpg", "out/deep/3.jpg")
    inside = tmp_path / "in"
    (inside / "a").symlink_to(inside / "z")
    (inside / "z" / "up").symlink_to(inside)
    (inside / "self").symlink_to("self")
    (inside / "link.jpg").symlink_to(inside / "z" / "1.jpg")
    (inside / "lost.jpg").symlink_to(inside / "nowhere.jpg")
    (inside / "out1").symlink_to(tmp_path / "out")
    (inside / "out2").symlink_to(tmp_path / "out")
    (tmp_path / "out" / "back").symlink_to(tmp_path)
    (inside / "other.jpg").symlink_to(tmp_path / "out" / "2.jpg")
    assert below(storage, inside) == ["other.jpg", "out1/2.jpg", "out1/deep/3.jpg", "z/1.jpg"]


def test_special_files_are_not_listed_and_reading_them_does_not_wait(storage, tmp_path):
    make(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.jpg"))
        assert below(storage, tmp_path) == ["a.jpg"]
    reader = threading.Thread(target=open_quietly, args=(storage, str(tmp_path / "pipe.jpg")))
    reader.daemon = True
    reader.start()
    reader.join(5)
    assert not reader.is_alive()
    with pytest.raises(InputError, match="not a plain file"):
        storage.read(str(tmp_path))


def test_what_vanishes_is_left_out_and_what_is_forbidden_is_told(storage, tmp_path, monkeypatch):
    make(tmp_path, "a.jpg", "b.jpg", "locked/c.jpg")
    real_stat, real_scandir = os.stat, os.scandir

    def vanishing(path, *args, **kwargs):
        if str(path).endswith("b.jpg"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return real_stat(path, *args, **kwargs)

    def guarded(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return real_scandir(path)

    monkeypatch.setattr(os, "stat", vanishing)
    monkeypatch.setattr(os, "scandir", guarded)
    assert below(storage, tmp_path) == ["a.jpg"]
    survey = storage.survey(str(tmp_path))
    assert len(list(survey.files)) == 1
    unreadable = survey.unreadable
    assert unreadable == [(str(tmp_path / "locked"), "Permission denied")]
    with pytest.raises(InputError, match=r"cannot list .*locked: Permission denied"):
        storage.files_under(str(tmp_path / "locked"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_file(storage, tmp_path):
    make(tmp_path, "a.jpg")
    (tmp_path / "a.jpg").chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        storage.read(str(tmp_path / "a.jpg"))


@pytest.mark.parametrize("name", ["nowhere", "a\0b", "x" * 300])
def test_reading_what_cannot_be_is_one_clear_error(storage, tmp_path, name):
    with pytest.raises(InputError, match="cannot read"):
        storage.read(str(tmp_path / name))


def test_globs(storage, tmp_path):
    make(tmp_path, "a.jpg", "b/1.jpg", "b/2.png", "b/c/3.jpg", "b/c/[4].jpg", ".h/5.jpg")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)

    def matching(pattern):
        files = storage.matching(f"{tmp_path}/{pattern}")
        return [os.path.relpath(file.uri, tmp_path) for file in files]

    assert matching("*.jpg") == ["a.jpg"]
    assert matching("b/?.*") == ["b/1.jpg", "b/2.png"]
    assert matching("**/*.jpg") == ["a.jpg", "b/1.jpg", "b/c/3.jpg", "b/c/[4].jpg"]
    assert matching("b/**/[!1].jpg") == ["b/c/3.jpg", "b/loop/a.jpg"]
    assert matching("b/**/[[]4].jpg") == ["b/c/[4].jpg"]
    assert matching("**/c/*") == ["b/c/3.jpg", "b/c/[4].jpg"]
    assert matching("nowhere/*") == []
    assert matching(".h/*") == [".h/5.jpg"]


def test_relative_globs_give_relative_paths(storage, tmp_path, monkeypatch):
    make(tmp_path, "a.jpg", "b/1.jpg")
    monkeypatch.chdir(tmp_path)
    assert [file.uri for file in storage.matching("**/*.jpg")] == ["a.jpg", "b/1.jpg"]
    assert [file.uri for file in storage.matching("./**/*.jpg")] == ["./a.jpg", "./b/1.jpg"]
    assert [file.uri for file in storage.files_under("b")] == ["b/1.jpg"]


def test_names_that_are_no_unicode_and_newlines(storage, tmp_path):
    odd = [b"caf\xe9.jpg", b"two\nlines.jpg", "täst.jpg".encode()]
    for name in odd:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(b"x")
    files = storage.files_under(str(tmp_path))
    assert sorted(os.fsencode(os.path.basename(file.uri)) for file in files) == sorted(odd)
    assert all(storage.read(file.uri) == b"x" for file in files)


def test_writing_is_atomic_and_makes_folders(storage, tmp_path):
    uri = str(tmp_path / "new" / "folder" / "file")
    storage.write(uri, b"one")
    storage.write(uri, b"two")
    assert storage.read(uri) == b"two"
    (tmp_path / "local").write_bytes(b"three")
    storage.upload(str(tmp_path / "local"), uri)
    assert storage.read(uri) == b"three"
    assert os.listdir(tmp_path / "new" / "folder") == ["file"]
    assert not (tmp_path / "local").exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(storage, tmp_path, monkeypatch):
    uri = str(tmp_path / "file")
    storage.write(uri, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        storage.write(uri, b"new")
    assert os.listdir(tmp_path) == ["file"]
    assert storage.read(uri) == b"old"


def test_delete(storage, tmp_path):
    make(tmp_path, "a", "b/c")
    for name in ("a", "b", "nowhere"):
        storage.delete(str(tmp_path / name))
    assert os.listdir(tmp_path) == []


def test_a_full_disk_names_the_file(storage, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    uri = str(tmp_path / "part")
    with pytest.raises(OSError, match=f"No space left on device: '{uri}'"):
        storage.write(uri, b"abc")
    assert not list(tmp_path.iterdir())
