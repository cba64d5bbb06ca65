"""Ctrl-C in the middle of a run, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import Planted


def test_ctrl_c_ends_within_seconds_and_says_how_to_go_on(planted: Planted, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = [str(planted.folder), "--output", str(output), "--direct_num_workers=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "copydetect.pipelines.cli", "dedup", *arguments],
        cwd=Path(__file__).parents[1],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not list(output.glob("run-*/images/*")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 1
    assert message == "copydetect: interrupted; the same command continues where it stopped\n"
    assert not (output / "manifest.json").exists()
