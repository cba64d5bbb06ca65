"""Parts in processes: the same results, errors that name their cause, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import cv2
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to

from copydetect.errors import CopydetectError, InputError
from copydetect.options import EngineOptions
from copydetect.pipelines.engine import engine_of
from copydetect.transforms.run_in_processes import RunInProcesses
from copydetect.workers.processes import Processes, WorkerError

PROCESSES = Processes(2)
LOADED: list[int] = []


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    yield
    PROCESSES.stop()


def twice(part: int) -> int:
    return 2 * part


def where(part: int) -> int:
    return os.getpid()


def loaded(part: int) -> bool:
    return bool(LOADED)


def refuse(part: int) -> int:
    raise InputError(f"part {part} is damaged")


def end_itself(part: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return part


def end_first(part: tuple[Path, int]) -> int:
    """Ends whoever comes first."""
    flag, number = part
    if not flag.exists():
        flag.touch()
        end_itself(number)
    return number


def end_at_odd(part: int) -> int:
    return end_itself(part) if part % 2 else part


@pytest.mark.parametrize("processes", [Processes(), PROCESSES])
def test_every_part_comes_out_once(processes: Processes) -> None:
    with beam.Pipeline("FnApiRunner") as pipeline:
        parts = pipeline | beam.Create(range(40)) | beam.ParDo(RunInProcesses(twice, processes))
        assert_that(parts, equal_to([2 * part for part in range(40)]))


ASIDE = Processes(of_worker=True)


def parent_of(part: int) -> int:
    return os.getppid()


def end_but_mended(part: tuple[int, bool]) -> int:
    return part[0] if part[1] else end_at_odd(part[0])


def mended(part: tuple[int, bool]) -> tuple[int, bool]:
    return part[0], True


def test_a_worker_keeps_a_child_for_its_parts() -> None:
    found = {ASIDE.aside(where, part) for part in range(4)}
    assert len(found) == 1
    assert os.getpid() not in found
    assert ASIDE.aside(parent_of, 0) == os.getpid()


def test_a_child_that_is_ended_is_followed_by_another() -> None:
    first = ASIDE.aside(where, 0)
    with pytest.raises(WorkerError):
        ASIDE.aside(end_itself, 0)
    second = ASIDE.aside(where, 0)
    assert second not in (first, os.getpid())
    with pytest.raises(InputError, match="part 3 is damaged"):
        ASIDE.aside(refuse, 3)
    assert ASIDE.aside(where, 0) == second


def test_a_part_that_ends_its_process_three_times_is_mended_on_a_worker_too() -> None:
    work = RunInProcesses(end_but_mended, ASIDE, mended)
    with beam.Pipeline("FnApiRunner") as pipeline:
        parts = pipeline | beam.Create([(part, False) for part in range(4)]) | beam.ParDo(work)
        assert_that(parts, equal_to(range(4)))


def test_work_is_done_elsewhere_and_by_the_same_ones() -> None:
    found = {PROCESSES.result(PROCESSES.start(where, part)) for part in range(8)}
    assert os.getpid() not in found
    assert len(found) <= 2


def test_an_error_is_that_of_the_part() -> None:
    with pytest.raises(InputError, match="part 3 is damaged"):
        PROCESSES.result(PROCESSES.start(refuse, 3))


def test_a_killed_process_is_an_error_and_the_next_one_works() -> None:
    with pytest.raises(WorkerError, match="continues where it stopped"):
        PROCESSES.result(PROCESSES.start(end_itself, 1))
    assert PROCESSES.result(PROCESSES.start(twice, 4)) == 8


def printed_by(program: str) -> str:
    """What a Python program prints that may use this module's functions."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def test_what_a_process_was_at_work_on_when_one_was_ended_is_tried_again(tmp_path: Path) -> None:
    numbers = list(range(20))
    with beam.Pipeline("FnApiRunner") as pipeline:
        parts = pipeline | beam.Create([(tmp_path / "ended", number) for number in numbers])
        assert_that(parts | beam.ParDo(RunInProcesses(end_first, PROCESSES)), equal_to(numbers))
    assert (tmp_path / "ended").exists()


def test_a_part_that_ends_every_process_is_mended_or_ends_the_job() -> None:
    with beam.Pipeline("FnApiRunner") as pipeline:
        work = RunInProcesses(end_at_odd, PROCESSES, mend=twice)
        assert_that(pipeline | beam.Create([2, 3, 4]) | beam.ParDo(work), equal_to([2, 6, 4]))
    pipeline = beam.Pipeline("FnApiRunner")
    _ = pipeline | beam.Create([3]) | beam.ParDo(RunInProcesses(end_at_odd, PROCESSES))
    with pytest.raises(Exception, match="continues where it stopped"):
        pipeline.run()


def test_processes_end_with_who_started_them() -> None:
    program = """
        import os
        from copydetect.workers.processes import Processes
        from tests.test_processes import where
        print(Processes(2).result(Processes(2).start(where, 0)), flush=True)
        os._exit(0)
    """
    worker = int(printed_by(program))
    until = time.monotonic() + 20
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < until:
        time.sleep(0.2)
    assert not os.path.exists(f"/proc/{worker}")


@pytest.mark.skipif(sys.platform != "linux", reason="forks are made on Linux only")
@pytest.mark.parametrize(("threads", "shared"), [(0, True), (1, False)])
def test_memory_is_shared_unless_a_thread_runs_that_a_fork_would_tear(
    threads: int, shared: bool
) -> None:
    program = f"""
        import threading
        from copydetect.workers.processes import Processes
        from tests import test_processes
        for _ in range({threads}):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        test_processes.LOADED.append(1)
        processes = Processes(2)
        processes.fork()
        print(processes.result(processes.start(test_processes.loaded, 0)))
        processes.stop()
    """
    assert printed_by(program).strip() == str(shared)


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        (["--direct_num_workers=3"], 3),
        (["--direct_num_workers=3", "--direct_running_mode=multi_processing"], 0),
        (["--runner=PortableRunner", "--job_endpoint=embed"], 0),
    ],
)
def test_only_threads_of_this_process_hand_work_over(flags: list[str], count: int) -> None:
    assert engine_of(EngineOptions(tuple(flags))).processes.count == count


def interrupt_itself(part: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return part


def test_an_interrupt_that_reaches_only_a_child_changes_nothing() -> None:
    assert PROCESSES.result(PROCESSES.start(interrupt_itself, 7)) == 7


def test_shared_memory_that_is_full_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("copydetect.workers.processes.ProcessPoolExecutor", full)
    with pytest.raises(CopydetectError, match="/dev/shm"):
        PROCESSES.start(twice, 1)
    with pytest.raises(CopydetectError, match="/dev/shm"):
        PROCESSES.ends(twice, 1)  # no part is to blame


def blurred(side: int) -> int:
    return int(cv2.GaussianBlur(np.zeros((side, side, 3), np.uint8), (0, 0), 3).size)


def test_a_process_that_has_used_opencvs_threads_can_be_forked() -> None:
    program = """
        import cv2, numpy as np
        from copydetect.workers.processes import Processes
        from tests import test_processes
        cv2.setNumThreads(4)
        cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 3)
        processes = Processes(2)
        processes.fork()
        print(processes.result(processes.start(test_processes.blurred, 3)))
        print(cv2.getNumThreads())
        processes.stop()
    """
    assert printed_by(program).split() == ["27", "4"]
