"""`dedup` through the portable job service: nothing depends on sharing a process with `main`."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Planted, Run, dedup_run


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Address of a job service that runs for one test."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    service = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "apache_beam.runners.portability.local_job_service_main",
            "-p",
            str(port),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, service)
        yield f"localhost:{port}"
    finally:
        service.terminate()
        service.wait(30)


def _wait_for(port: int, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and service.poll() is None:
        with socket.socket() as attempt:
            if attempt.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail("the job service did not start")


def test_the_job_service_gives_the_same_tables(
    planted: Planted, run: Run, endpoint: str, tmp_path: Path
) -> None:
    flags = ["--runner=PortableRunner", f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK"]
    other = dedup_run(planted.folder, tmp_path / "out", *flags)
    assert other.results() == run.results()
    for name in ("images", "failures"):
        assert other.table(name).equals(run.table(name))
