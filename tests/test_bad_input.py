"""What a user gets wrong: one line that names it, exit code 2, and nothing written."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from copydetect.pipelines import cli
from copydetect.pipelines.exit_codes import TRY_AGAIN
from tests.conftest import ONE_WORKER, Planted, encoded
from tests.scenes import scene

Capture = pytest.CaptureFixture[str]


def refused(arguments: list[str], output: Path, capsys: Capture) -> str:
    """The one line that a refused command prints; it has written nothing."""
    before = sorted(output.parent.rglob("*"))
    assert cli.main([*arguments, "--output", str(output), *ONE_WORKER]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert sorted(output.parent.rglob("*")) == before
    return printed.err


def missing(folder: Path) -> str:
    return str(folder / "no such folder")


def empty(folder: Path) -> str:
    (folder / "empty").mkdir()
    return str(folder / "empty")


def no_images(folder: Path) -> str:
    (folder / "notes.txt").write_text("nothing to see")
    return str(folder)


def manifest_without_uri(folder: Path) -> str:
    (folder / "photos.csv").write_text("name\na.jpg\n")
    return str(folder / "photos.csv")


def manifest_of_bytes(folder: Path) -> str:
    (folder / "photos.csv").write_bytes(b"uri\n\xff\xfe\x00\x01\n")
    return str(folder / "photos.csv")


def manifest_with_one_id_twice(folder: Path) -> str:
    (folder / "photos.csv").write_text("image_id,uri\nsame,a.jpg\nsame,b.jpg\n")
    return str(folder / "photos.csv")


def broken_parquet(folder: Path) -> str:
    (folder / "photos.parquet").write_bytes(b"PAR1 and then nothing")
    return str(folder / "photos.parquet")


def broken_tar(folder: Path) -> str:
    (folder / "photos.tar").write_bytes(b"no tar" * 200)
    return str(folder / "photos.tar")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (missing, "no such folder does not exist"),
        (empty, "empty holds no files"),
        (no_images, "holds no images"),
        (manifest_without_uri, "without a column `uri`"),
        (manifest_of_bytes, "photos.csv"),
        (manifest_with_one_id_twice, "'same'"),
        (broken_parquet, "photos.parquet is not a readable Parquet file"),
        (broken_tar, "photos.tar is not a readable tar file"),
    ],
)
def test_bad_inputs(
    make: Callable[[Path], str], named: str, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "input").mkdir()
    (tmp_path / "place").mkdir()
    spec = make(tmp_path / "input")
    message = refused(["dedup", spec], tmp_path / "place" / "out", capsys)
    assert named in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--model=/no/model.pt"], "/no/model.pt"),
        (["--model={file}"], "notes.txt"),
        (["--background={file}"], "notes.txt"),
        (["--background=/no/background"], "/no/background"),
        (["--device=cuda:7"], "cuda:7"),
        (["--device=abacus"], "abacus"),
        (["--nonsense=1"], "--nonsense"),
        (["stray"], "stray does not exist"),
        (["--channels=smell"], "smell"),
        (["--views=inside"], "inside"),
        (["--effort=none"], "none"),
        (["--index=Fast"], "Fast"),
        (["--shards=-1"], "-1"),
        (["--probes=-1"], "-1"),
        (["--k=0"], "0"),
        (["--k=many"], "many"),
        (["--min_score=nan"], "min_score must be a number"),
        (["--min_confidence=2"], "2"),
        (["--max_megapixels=0"], "0"),
        (["--max_failed_fraction=-1"], "-1"),
        (["--keep=best"], "best"),
        (["--runner=SlowRunner"], "SlowRunner"),
    ],
)
def test_bad_options(flags: list[str], named: str, tmp_path: Path, capsys: Capture) -> None:
    photos, place = tmp_path / "photos", tmp_path / "place"
    photos.mkdir()
    place.mkdir()
    (photos / "a.jpg").write_bytes(encoded(scene(0, 40, 30)))
    (tmp_path / "notes.txt").write_text("no model")
    given = [flag.format(file=tmp_path / "notes.txt") for flag in flags]
    message = refused(["dedup", str(photos), *given], place / "out", capsys)
    assert named in message
    assert len(message.splitlines()) <= 2


def test_an_output_that_cannot_be_written(
    planted: Planted, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "file").write_text("")
    for output, named in (
        (tmp_path / "file", "is a file, not a folder"),
        (tmp_path / "file" / "below", "cannot write"),
        (Path("/proc/out"), "cannot write"),
    ):
        assert cli.main(["dedup", str(planted.folder), "--output", str(output), *ONE_WORKER]) == 2
        message = capsys.readouterr().err
        assert str(output) in message
        assert named in message
        assert len(message.splitlines()) == 1
    assert cli.main(["dedup", str(planted.folder), "--output", "", *ONE_WORKER]) == 2
    assert "the output is empty" in capsys.readouterr().err


def test_an_input_inside_the_output(tmp_path: Path, capsys: Capture) -> None:
    inside = tmp_path / "out" / "photos"
    inside.mkdir(parents=True)
    (inside / "a.jpg").write_bytes(encoded(scene(0, 40, 30)))
    assert "holds other files, such as photos" in refused(
        ["dedup", str(tmp_path)], tmp_path / "out", capsys
    )


def test_two_runs_into_one_folder(planted: Planted, tmp_path: Path, capsys: Capture) -> None:
    output = tmp_path / "out"
    output.mkdir()
    other = os.open(output, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        code = cli.main(["dedup", str(planted.folder), "--output", str(output), *ONE_WORKER])
    finally:
        os.close(other)
    assert code == TRY_AGAIN
    assert f"another run is writing to the output folder {output}" in capsys.readouterr().err
    assert not list(output.iterdir())
