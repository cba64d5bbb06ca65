from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import statesampler
from apache_beam.transforms import userstate

from copydetect.errors import OptionError
from copydetect.options import EngineOptions
from copydetect.pipelines.chains import Stage
from copydetect.pipelines.engine import StageError, engine_of
from copydetect.pipelines.progress import Progress, show_progress
from copydetect.transforms.waiting import GatherThen


def test_a_stage_runs_and_is_timed(tmp_path) -> None:
    engine = engine_of(EngineOptions())
    target = tmp_path / "out"

    def build(pipeline: beam.Pipeline) -> None:
        numbers = pipeline | beam.Create([1, 2, 3])
        _ = numbers | beam.CombineGlobally(sum) | beam.Map(lambda n: target.write_text(str(n)))

    engine.run("sum", build)
    assert target.read_text() == "6"
    assert engine.seconds["sum"] > 0


def test_a_failing_stage_names_itself_and_the_cause() -> None:
    def fail(number: int) -> int:
        raise ValueError(f"no such number: {number}")

    engine = engine_of(EngineOptions())
    with pytest.raises(StageError, match=r"stage count failed: .*no such number: 7"):
        engine.run("count", lambda p: p | beam.Create([7]) | beam.Map(fail))


class SlowlyPickled:
    """Takes longer to pickle than the in-process runner keeps what is in its buffers."""

    def __reduce__(self) -> tuple[type[SlowlyPickled], tuple[()]]:
        time.sleep(1.5)
        return SlowlyPickled, ()


def test_elements_that_take_long_to_write_arrive_whole(tmp_path) -> None:
    engine = engine_of(EngineOptions(("--direct_num_workers=1",)))
    target = tmp_path / "out"

    def write(element: tuple[str, list[SlowlyPickled]]) -> None:
        target.write_text(f"{element[0]} {len(list(element[1]))}")

    def build(pipeline: beam.Pipeline) -> None:
        pairs = pipeline | beam.Create([0]) | beam.Map(lambda _: ("slow", SlowlyPickled()))
        _ = pairs | beam.GroupByKey() | beam.Map(write)

    engine.run("write", build)
    assert target.read_text() == "slow 1"


def test_an_option_that_beam_does_not_know_is_refused_with_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"no option --direct_num_worker; did you mean"):
        engine_of(EngineOptions(("--direct_num_worker=1",)))


def test_a_reader_that_leaves_early_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "copydetect.pipelines.cli", "--help"]
    try:
        ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert (ended.returncode, ended.stderr) == (0, "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at_three(total: int) -> Progress:
    return Progress("search", lambda: 0.3, total)


@pytest.mark.parametrize(("total", "shown"), [(10, "3/10"), (0, "search: 00:00")])
def test_a_stage_shows_how_far_it_is_or_at_least_how_long_it_takes(total: int, shown: str) -> None:
    terminal = Terminal()
    with show_progress([at_three(total)], True, terminal):
        assert shown in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")


@pytest.mark.parametrize(
    ("total", "told"), [(10, r"search: 3 of 10 images \(30%\), \d+ s"), (0, r"search: \d+ s")]
)
def test_a_pipe_gets_a_line_now_and_then(
    total: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("copydetect.pipelines.progress._LINE_SECONDS", 0.01)
    pipe = io.StringIO()
    with show_progress([at_three(total)], True, pipe):
        time.sleep(0.2)
    assert re.match(told, pipe.getvalue())


def test_the_stage_of_a_job_is_told_that_it_is_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copydetect.pipelines.progress._LINE_SECONDS", 0.01)
    done = {"describe": 0.0, "search": 0.0, "verify": 0.0}

    def stage(name: str) -> Progress:
        return Progress(name, lambda: done[name], 10)

    pipe = io.StringIO()
    with show_progress([stage(name) for name in done], True, pipe):
        for name, share in (("describe", 0.5), ("describe", 1.0), ("verify", 0.5)):
            time.sleep(0.1)
            done[name] = share
        time.sleep(0.1)
    told = re.findall(r"(\w+): (\d+) of 10", pipe.getvalue())
    assert list(dict.fromkeys(told)) == [
        ("describe", "0"),
        ("describe", "5"),
        ("search", "0"),
        ("verify", "5"),
    ]


def test_stages_of_one_job_wait_for_each_other(tmp_path: Path) -> None:
    """Each plans by what the one before has written, and has its time counted."""
    engine = engine_of(EngineOptions())
    first, second = str(tmp_path / "first"), str(tmp_path / "second")

    def write(number: int, path: str) -> None:
        with open(path, "a") as file:
            file.write(f"{number}\n")

    def lines(path: str) -> list[int]:
        return [int(line) for line in Path(path).read_text().split()]

    def stage(name: str, plan: Callable[[object], Iterable[int]], path: str) -> Stage[str]:
        steps = beam.FlatMap(plan), beam.Map(write, path)
        return Stage(name, lambda one: one | steps[0] | steps[1], path, Progress(name))

    stages = [
        stage("write", lambda _: range(5), first),
        stage("write again", lambda _: lines(first), second),
    ]
    engine.run_stages("both", stages)
    assert sorted(lines(second)) == [0, 1, 2, 3, 4]
    assert sorted(engine.seconds) == ["write", "write again"]


def test_a_stage_that_has_nothing_to_do_is_followed_by_the_next(tmp_path: Path) -> None:
    done = tmp_path / "done"
    stages = [
        Stage("idle", lambda one: one | GatherThen(lambda _: ()), 0, Progress("idle")),
        Stage("busy", lambda one: one | beam.Map(lambda _: done.write_text("")), 0, Progress("b")),
    ]
    engine_of(EngineOptions()).run_stages("both", stages)
    assert done.exists()


def test_the_stage_of_a_job_that_fails_is_named() -> None:
    def fail(_: object) -> None:
        raise ValueError("no luck")

    stages = [
        Stage("fine", lambda one: one | beam.Map(print), 0, Progress("fine")),
        Stage("unlucky", lambda one: one | beam.Map(fail), 0, Progress("unlucky")),
    ]
    with pytest.raises(StageError, match=r"^stage unlucky failed: .*no luck$"):
        engine_of(EngineOptions()).run_stages("both", stages)


def test_nothing_is_told_unless_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copydetect.pipelines.progress._LINE_SECONDS", 0.01)
    file = io.StringIO()
    with show_progress([at_three(10)], False, file):
        time.sleep(0.1)
    assert not file.getvalue()


def test_what_is_changed_of_beam_is_still_there() -> None:
    """Both are no part of its public interface; without them jobs are unsafe, or slow."""
    assert isinstance(worker_handlers.DATA_BUFFER_TIME_LIMIT_MS, int)
    assert statesampler.StateSampler.__init__.__defaults__ is not None
    assert userstate.get_dofn_specs(beam.DoFn()) == (set(), set())
