"""`copydetect benchmark engines`: what it says of two runs, and the processes that it watches."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from copydetect.pipelines.benchmarks import engines
from copydetect.pipelines.benchmarks.engines import RunCost
from copydetect.pipelines.benchmarks.processes import CpuMeter, Program, below, end
from copydetect.pipelines.commands import benchmark
from copydetect.pipelines.exit_codes import BAD_ARGUMENTS
from tests.conftest import Run

CHILD = "input(); sum(range(20_000_000)); print(1, flush=True); input()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"
SEEN = """
import os, time
open(f'seen-{os.environ["MARK"]}-{os.getpid()}', "w").close()
time.sleep(60)
"""

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="there is no /proc")


@pytest.fixture
def parent() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_processor_time_of_what_a_process_has_started_counts_though_both_are_killed(
    parent: subprocess.Popen[bytes],
) -> None:
    assert parent.stdin is not None
    assert parent.stdout is not None
    with CpuMeter([parent.pid]) as meter:
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        parent.stdout.readline()
        processes = below([parent.pid])
        assert len(processes) == 2
        assert processes[0] == parent.pid
        time.sleep(0.6)
        for process in processes:
            end(process)
        parent.wait()
    assert meter.seconds > 0.1
    with CpuMeter([parent.pid]) as meter:
        pass
    assert meter.seconds == 0


def test_a_process_is_started_again_as_it_was(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", SEEN], cwd=tmp_path, env={**os.environ, "MARK": "a mark"}
    )
    _wait_for(tmp_path, 1)
    program = Program.of(first.pid)
    end(first.pid)
    first.wait()
    second = program.start()
    _wait_for(tmp_path, 2)
    assert (tmp_path / f"seen-a mark-{second}").exists()
    end(second)
    os.waitpid(second, 0)


def _wait_for(folder: Path, files: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < files:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_table_has_ratios() -> None:
    here, first = RunCost(10.0, 20.0, 0, 84), RunCost(25.0, 28.0, 2, 84)
    costs = {"here": here, "first": first, "there": RunCost(15.0, 24.0, 1, 84)}
    table = engines._table(costs, equal=True, counted=True)
    assert "| seconds | 10.0 | 25.0 | 2.50 | 15.0 | 1.50 |" in table
    assert "| CPU seconds | 20.0 | 28.0 | 1.40 | 24.0 | 1.20 |" in table
    assert "| jobs | | 2 | | 1 | |" in table
    assert "| tables equal | | yes | | | |" in table
    assert "CPU" not in engines._table(costs, equal=False, counted=False)


def test_rows_are_compared_without_where_files_are(run: Run) -> None:
    rows = engines._rows(run.manifest, str(run.output))
    assert set(rows) == set(run.manifest.tables)
    assert all(len(rows[name]) == run.manifest.counts[name] for name in rows)
    assert not any(str(run.output.parent) in row for row in rows["matches"])


def test_an_engine_must_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["engines", str(tmp_path)]) == BAD_ARGUMENTS
    assert "--runner" in capsys.readouterr().err
