from __future__ import annotations

import io
import os
import subprocess
import sys
import time

import apache_beam as beam
import pytest

from copydetect.errors import InputError, ModelError, OptionError
from pipelines import cli
from pipelines.engine import StageError, engine_of, exit_code_of, parser_of
from pipelines.progress import progress_bar


def test_a_stage_runs_and_is_timed(tmp_path) -> None:
    engine = engine_of([], quiet=True, verbose=False)
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

    engine = engine_of([], quiet=True, verbose=False)
    with pytest.raises(StageError, match=r"stage count failed: .*no such number: 7"):
        engine.run("count", lambda p: p | beam.Create([7]) | beam.Map(fail))


class SlowlyPickled:
    """Takes longer to pickle than the in-process runner keeps what is in its buffers."""

    def __reduce__(self) -> tuple[type[SlowlyPickled], tuple[()]]:
        time.sleep(1.5)
        return SlowlyPickled, ()


def test_elements_that_take_long_to_write_arrive_whole(tmp_path) -> None:
    engine = engine_of(["--direct_num_workers=1"], quiet=True, verbose=False)
    target = tmp_path / "out"

    def write(element: tuple[str, list[SlowlyPickled]]) -> None:
        target.write_text(f"{element[0]} {len(list(element[1]))}")

    def build(pipeline: beam.Pipeline) -> None:
        pairs = pipeline | beam.Create([0]) | beam.Map(lambda _: ("slow", SlowlyPickled()))
        _ = pairs | beam.GroupByKey() | beam.Map(write)

    engine.run("write", build)
    assert target.read_text() == "slow 1"


@pytest.mark.parametrize("flags", [["--nonsense=1"], ["--nonsense", "1"], ["stray"]])
def test_unknown_options_are_refused(flags: list[str]) -> None:
    with pytest.raises(OptionError, match=r"nonsense|stray"):
        engine_of(flags, quiet=True, verbose=False)


def test_beams_own_options_pass_through() -> None:
    engine = engine_of(["--runner=PortableRunner", "--job_endpoint", "localhost:1"], True, False)
    assert "--runner=PortableRunner" in engine.flags
    assert not any("FnApiRunner" in flag for flag in engine.flags)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no such folder"), 2),
        (OptionError("k must be positive"), 2),
        (ModelError("not a model"), 2),
        (StageError("stage describe failed"), 1),
        (OSError(28, "No space left on device", "out"), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_errors_become_one_line_and_an_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def job() -> int:
        raise error

    assert exit_code_of(job, verbose=False) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_programming_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code_of(lambda: 1 // 0, verbose=False)


def test_no_abbreviations() -> None:
    parser = parser_of("dedup", "")
    assert parser.parse_known_args(["--verb"])[0].verbose is False


def test_the_command_line_lists_commands_and_refuses_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["--help"]) == 0
    assert "dedup" in capsys.readouterr().out
    assert cli.main(["dedupe"]) == 2
    assert "dedupe" in capsys.readouterr().err
    assert cli.main([]) == 2


def test_a_reader_that_leaves_early_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "pipelines.cli", "--help"]
    try:
        ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert (ended.returncode, ended.stderr) == (0, "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("total", "shown"), [(10, "3/10"), (0, "search: 00:00")])
def test_a_stage_shows_how_far_it_is_or_at_least_how_long_it_takes(total: int, shown: str) -> None:
    terminal = Terminal()
    with progress_bar("search", total, "images", lambda: 3, False, terminal):
        assert shown in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")


def test_a_file_gets_no_progress() -> None:
    file = io.StringIO()
    with progress_bar("search", 10, "images", lambda: 3, False, file):
        pass
    assert not file.getvalue()
