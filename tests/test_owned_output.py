"""OUT: only what copydetect made is replaced or deleted, and never through a link."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from copydetect.errors import InputError
from copydetect.pipelines.outputs import refuse_foreign
from copydetect.storage.records import RECORDS, recorded_files, remove_unfinished, stranger_in
from copydetect.storage.remote import RecordedStorage
from tests.conftest import Planted, Run, dedup_run


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def strangers(folder: Path) -> dict[str, bytes]:
    """Files of a user, with the very names that a run uses."""
    names = ("notes.txt", "report/index.html", "run-0123456789abcdef/part", "listing/a.parquet")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"the user's {name}")
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_a_folder_that_holds_other_things_is_refused_untouched(
    flags: list[str], planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from copydetect.pipelines import cli

    before = strangers(tmp_path / "out")
    arguments = ["dedup", str(planted.folder), "--output", str(tmp_path / "out"), *flags]
    assert cli.main(arguments) == 2
    assert "holds other files" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


def test_files_of_a_user_among_ours_survive_a_run_that_replaces_it(
    planted: Planted, run: Run, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(run.output, output)
    mine = strangers(output)
    mine[f"{run.manifest.folder}/matches/notes"] = b"mine"
    (output / run.manifest.folder / "matches" / "notes").write_bytes(b"mine")
    again = dedup_run(planted.folder, output, "--channels=local", "--k=3", "--overwrite")
    assert again.manifest.folder != run.manifest.folder
    after = contents(output)
    assert {name: after[name] for name in mine} == mine
    left = [name for name in after if name.startswith(run.manifest.folder)]
    assert left == [f"{run.manifest.folder}/matches/notes"]


def test_nothing_is_written_or_deleted_through_a_link(tmp_path: Path) -> None:
    storage = RecordedStorage(str(tmp_path / "out"))
    for name in ("report/index.html", "report/old.html"):
        storage.write(str(tmp_path / "out" / name), b"ours")
    shutil.move(tmp_path / "out" / "report", tmp_path / "elsewhere")
    (tmp_path / "out" / "report").symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link"):
        storage.write(str(tmp_path / "out" / "report" / "index.html"), b"new")
    storage.delete(str(tmp_path / "out" / "report"))
    assert contents(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("linked", [RECORDS, f"{RECORDS}/report"])
def test_records_behind_a_link_are_none_of_ours(linked: str, tmp_path: Path) -> None:
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    storage = RecordedStorage(str(output))
    storage.write(str(output / "report" / "index.html"), b"ours")
    elsewhere.mkdir()
    for name in ("index.html.json", "report/index.html.json", "0.names"):
        (elsewhere / name).parent.mkdir(exist_ok=True)
        (elsewhere / name).write_bytes(b'{"names": ["index.html"]}')
    shutil.rmtree(output / linked)
    (output / linked).symlink_to(elsewhere)
    before = contents(elsewhere)
    with pytest.raises(InputError, match="is a link"):
        storage.write(str(output / "report" / "index.html"), b"new")
    storage.delete(str(output / "report"))
    assert contents(elsewhere) == before
    assert (output / "report" / "index.html").read_bytes() == b"ours"
    assert bool(stranger_in(str(output))) == (linked == RECORDS)


def test_a_manifest_of_somebody_else_is_told_before_the_work(tmp_path: Path) -> None:
    RecordedStorage(str(tmp_path)).write(str(tmp_path / "manifest.json"), b"ours")
    refuse_foreign(str(tmp_path))
    (tmp_path / RECORDS / "manifest.json.json").unlink()
    with pytest.raises(InputError, match=r"other files, such as manifest\.json"):
        refuse_foreign(str(tmp_path))


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    storage = RecordedStorage(str(tmp_path))
    storage.write(str(tmp_path / "manifest.json"), b"ours")
    storage.write(str(tmp_path / "manifest.json"), b"ours again")
    (tmp_path / "groups").write_bytes(b"theirs")
    with pytest.raises(InputError, match="not made by copydetect"):
        storage.write(str(tmp_path / "groups"), b"ours")
    storage.delete(str(tmp_path / "groups"))
    assert (tmp_path / "groups").read_bytes() == b"theirs"
    storage.delete(str(tmp_path / "manifest.json"))
    assert contents(tmp_path) == {"groups": b"theirs"}
    assert not (tmp_path / RECORDS).exists()


def test_what_was_being_written_when_a_run_was_ended_is_removed(tmp_path: Path) -> None:
    storage = RecordedStorage(str(tmp_path))
    storage.write(str(tmp_path / "run" / "part"), b"ours")
    left = tmp_path / "run" / f".part.{'a' * 32}"
    left.write_bytes(b"half")
    (tmp_path / "run" / ".bashrc").write_bytes(b"theirs")
    # In a folder with records of its own somebody else may be writing.
    RecordedStorage(str(tmp_path / "upgrade")).write(str(tmp_path / "upgrade" / "part"), b"whole")
    others = tmp_path / "upgrade" / left.name
    others.write_bytes(b"half")
    remove_unfinished(str(tmp_path))
    assert not left.exists()
    assert others.exists()
    assert (tmp_path / "run" / ".bashrc").exists()
    assert recorded_files(str(tmp_path), str(tmp_path / "run")) == [str(tmp_path / "run" / "part")]


def test_empty_and_new_folders_are_free(tmp_path: Path) -> None:
    assert stranger_in(str(tmp_path)) == ""
    assert stranger_in(str(tmp_path / "new")) == ""
    (tmp_path / ".hidden").touch()
    assert stranger_in(str(tmp_path)) == ".hidden"
