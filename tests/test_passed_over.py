"""What is in an input and is no picture, or cannot be read: told by reason, never silent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from copydetect.inputs.finding import HARD_LINK, find_sources
from copydetect.inputs.sources import list_source
from copydetect.storage.files import HIDDEN, LINK, LocalStorage, Survey
from tests.conftest import STORAGE, encoded
from tests.scenes import scene

PICTURE = encoded(scene(0, 24, 16))


def ids(folder: Path) -> list[str]:
    sources = find_sources(STORAGE, str(folder))
    return [ref.image_id for piece in sources.pieces for ref in list_source(STORAGE, piece)[0]]


def test_files_of_unknown_extension_are_told_by_their_first_bytes(tmp_path: Path) -> None:
    for name in ("a.jpg", "no extension", "b.jpeg_large", "c.jpg.part", "clip.mp4", "d.JPG~"):
        (tmp_path / name).write_bytes(PICTURE)
    (tmp_path / "notes").write_text("no picture")
    (tmp_path / "raw.xyz").write_bytes(b"RAW!")
    assert ids(tmp_path) == ["a.jpg", "b.jpeg_large", "c.jpg.part", "d.JPG~", "no extension"]
    assert find_sources(STORAGE, str(tmp_path)).skipped == {".mp4": 1, "": 1, ".xyz": 1}


def test_a_folder_of_such_files_alone_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "IMG_0001").write_bytes(PICTURE)
    assert ids(tmp_path) == ["IMG_0001"]


def test_hidden_files_and_links_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    (tmp_path / ".b.jpg").write_bytes(PICTURE)
    (tmp_path / "c.jpg").symlink_to(tmp_path / "a.jpg")
    assert find_sources(STORAGE, str(tmp_path)).skipped == {HIDDEN: 1, LINK: 1}


def test_hard_links_of_a_file_are_one_image(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    (tmp_path / "one" / "a.jpg").write_bytes(PICTURE)
    for name in ("one/b.jpg", "two/a.jpg"):
        os.link(tmp_path / "one" / "a.jpg", tmp_path / name)
    (tmp_path / "two" / "copy.jpg").write_bytes(PICTURE)
    sources = find_sources(STORAGE, [str(tmp_path / "one"), str(tmp_path / "two")])
    assert [name for piece in sources.pieces for name in piece.names] == ["a.jpg", "copy.jpg"]
    assert (sources.skipped, sources.file_count) == ({HARD_LINK: 2}, 2)


class Closed(LocalStorage):
    """A folder that may not be listed, whoever asks."""

    def survey(self, uri: str) -> Survey:
        found = super().survey(uri)
        found.unreadable.append((f"{uri}/private", "Permission denied"))
        return found


def test_an_unreadable_folder_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    sources = find_sources(Closed(), str(tmp_path))
    failures = [row for piece in sources.pieces for row in list_source(STORAGE, piece)[1]]
    (failure,) = failures
    assert (failure.image_id, failure.uri) == ("private/", f"{tmp_path}/private")
    assert failure.retryable
    assert "Permission denied" in failure.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    (tmp_path / "private").mkdir(mode=0)
    survey = STORAGE.survey(str(tmp_path))
    assert len(list(survey.files)) == 1
    ((folder, why),) = survey.unreadable
    assert (folder, why) == (f"{tmp_path}/private", "Permission denied")
