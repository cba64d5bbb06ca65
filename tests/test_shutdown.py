"""Signals, closed pipes and what a killed process leaves: how a command ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from copydetect.options import EngineOptions
from copydetect.pipelines.engine import ThreadsError, engine_of
from copydetect.storage.scratch import adopt, remove_abandoned, scratch_folder, scratch_prefix
from tests.conftest import Planted

ROOT = Path(__file__).parents[1]
PYTHON = [sys.executable, "-m", "copydetect.pipelines.cli"]


def started(planted: Planted, output: Path) -> subprocess.Popen[str]:
    """A run in the middle of its work."""
    process = subprocess.Popen(
        [*PYTHON, "dedup", str(planted.folder), "--output", str(output), "--workers=1"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(output.glob("run-*/images/*")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(
    ("number", "name", "code"),
    [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGHUP, "SIGHUP", 129)],
)
def test_asked_to_end_it_says_how_to_go_on(
    number: int, name: str, code: int, planted: Planted, tmp_path: Path
) -> None:
    process = started(planted, tmp_path / "out")
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == code
    said = f"copydetect: ended by {name}; the same command continues where it stopped"
    assert message.splitlines()[-1] == said
    assert "Traceback" not in message


@pytest.mark.parametrize("closing", ["| head -1", ">&-", "2>&-", "2>&1 | true", "<&- >&- 2>&-"])
def test_output_that_nobody_reads_is_no_failure(closing: str, tmp_path: Path) -> None:
    said = tmp_path / "code"
    command = f"{{ {' '.join(PYTHON)} --help; echo $? >{said}; }} {closing}"
    subprocess.run(["bash", "-c", command], cwd=ROOT, check=False, timeout=60)
    assert said.read_text() == "0\n"


def test_errors_that_nobody_reads_keep_their_code(tmp_path: Path) -> None:
    said = tmp_path / "code"
    command = f"{{ {' '.join(PYTHON)} report {tmp_path}/none; echo $? >{said}; }} 2>&1 | true"
    subprocess.run(["bash", "-c", command], cwd=ROOT, check=False, timeout=60)
    assert said.read_text() == "2\n"


def test_temporary_folders_of_processes_that_have_gone_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ask = "import os; print(os.getpid())"
    gone = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True)
    name = scratch_prefix().replace(f"-{os.getpid()}-", f"-{int(gone.stdout)}-")
    (tmp_path / f"{name}abc").mkdir()
    (tmp_path / f"{name}abc" / "part").write_bytes(b"left")
    (tmp_path / "copydetect-other").mkdir()
    (tmp_path / f"{name}link").symlink_to(tmp_path / "copydetect-other")
    with scratch_folder() as mine:
        remove_abandoned()
        assert os.path.isdir(mine)
    left = sorted(file.name for file in tmp_path.iterdir())
    assert left == sorted(["copydetect-other", f"{name}link"])


def test_a_folder_of_another_library_is_adopted(tmp_path: Path) -> None:
    (tmp_path / "beam-pipeline-temp123").mkdir()
    named = adopt(str(tmp_path / "beam-pipeline-temp123"))
    assert os.path.basename(named) == f"{scratch_prefix()}beam-pipeline-temp123"
    assert os.path.isdir(named)


def test_too_few_threads_are_named_before_anything_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copydetect.pipelines.engine.startable_threads", lambda wanted: 7)
    with pytest.raises(ThreadsError, match="only 7 threads"):
        engine_of(EngineOptions()).fork()
