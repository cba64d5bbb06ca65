"""Inputs of many files: names wait in files, and come out the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from copydetect.inputs import finding, name_spools, piece_files
from copydetect.inputs.companions import companions, family_of
from copydetect.inputs.finding import HARD_LINK, find_sources
from copydetect.inputs.piece_files import PieceFiles, pieces_uri, read_pieces
from copydetect.inputs.sources import Source, Sources
from tests.conftest import STORAGE

NAMES = (
    *("IMG_1.JPG", "IMG_1.CR2", "IMG_1.MOV", "IMG_1.xmp", "img_e1.aae", "a.MP.jpg", "a.MP"),
    *("b-edited.jpg", "b.jpg.json", "c(1).jpg", "c.jpg(1).json", "c.jpg.supplemental-meta(1).json"),
    *("x" * 60 + ".jpg", "x" * 46 + ".json", "d.e.jpg", "d.e.jpg.xmp", "f.jpg", "g.png"),
)


def listed(sources: Sources) -> dict[str, tuple[str, ...]]:
    """The files of all pieces, and the companions of each."""
    beside = {uri: some for one in sources.pieces for uri, some in one.uris_beside().items()}
    return {uri: beside.get(uri, ()) for one in sources.pieces for uri in one.uris()}


def test_companions_have_their_family_in_common() -> None:
    for name, others in companions(f"shots/{one}" for one in NAMES).items():
        assert {family_of(other.name) for other in others} == {family_of(name)}
    assert family_of("one/a.jpg") != family_of("two/a.jpg")


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    for folder in ("one", "two", "two/deep"):
        (tmp_path / folder).mkdir()
        for name in (*NAMES, *(f"{number}.jpg" for number in range(40)), "note.txt", "y.tar"):
            (tmp_path / folder / name).write_bytes(b"")
    os.link(tmp_path / "one" / "f.jpg", tmp_path / "one" / "f2.jpg")
    return tmp_path


def few_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "NameSpool", lambda: name_spools.NameSpool(held=10))
    monkeypatch.setattr(finding, "kept_pieces", lambda pieces: piece_files.kept_pieces(pieces, 3))


def test_many_names_are_those_of_few(pile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [str(pile), str(pile / "two"), str(pile / "one")]
    exclude = ["3?.jpg"]
    wanted = find_sources(STORAGE, specs, exclude)
    assert isinstance(wanted.pieces, tuple)
    few_held(monkeypatch)
    found = find_sources(STORAGE, specs, exclude)
    assert isinstance(found.pieces, PieceFiles)
    assert (found.file_count, found.skipped, found.excluded) == (
        wanted.file_count,
        wanted.skipped,
        wanted.excluded,
    )
    assert found.skipped[HARD_LINK] == 1
    # Of two names of one file either is the first.
    links = {f"{pile}/one/f.jpg", f"{pile}/one/f2.jpg"}
    files, others = listed(found), listed(wanted)
    assert len(files.keys() & links) == len(others.keys() & links) == 1
    assert {uri: files[uri] for uri in files.keys() - links} == {
        uri: others[uri] for uri in others.keys() - links
    }


def test_an_unreadable_folder_is_told_once(pile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_held(monkeypatch)
    real = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", closed)
    told = [piece.unreadable for piece in find_sources(STORAGE, str(pile)).pieces]
    assert [one for one in told if one] == [((f"{pile}/two/deep", "Permission denied"),)]


def test_pieces_are_read_where_they_were_copied(tmp_path: Path) -> None:
    pieces = [
        Source(
            "files",
            "in",
            (f"{number}.jpg", "no\udcffname.jpg"),
            ("*.gif",),
            (("in/shut", "Permission denied"),) if number else (),
            ((f"{number}.jpg", ("a.mov", "b.xmp")),),
        )
        for number in range(40)
    ]
    held = PieceFiles(iter(pieces))
    assert (len(held), held.files, list(held)) == (40, 3, pieces)
    assert (held[17], held[-1], held[38:]) == (pieces[17], pieces[-1], tuple(pieces[38:]))
    held.copy_to(STORAGE, str(tmp_path), "query")
    read = [read_pieces(STORAGE, pieces_uri(str(tmp_path), "query", one)) for one in range(3)]
    assert [piece for some in read for piece in some] == pieces


def test_a_spool_leaves_nothing(
    pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    few_held(monkeypatch)
    sources = find_sources(STORAGE, str(pile))
    assert len(os.listdir(scratch)) == 1, "that of the pieces"
    del sources
    assert os.listdir(scratch) == []
