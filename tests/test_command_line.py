"""What the command line takes and refuses, before any job runs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from copydetect.errors import (
    InputError,
    ModelError,
    OptionError,
    RunError,
    TooManyFailuresError,
    TransientError,
)
from copydetect.options import RunOptions
from copydetect.pipelines import cli
from copydetect.pipelines.arguments import CommandParser
from copydetect.pipelines.commands.benchmark import BENCHMARKS
from copydetect.pipelines.engine import StageError
from copydetect.pipelines.exit_codes import exit_code_of
from copydetect.pipelines.run_arguments import add_run_options, run_options

COMMANDS = [[command] for command in cli.COMMANDS] + [["benchmark", name] for name in BENCHMARKS]
HEAVY = ("torch", "apache_beam", "cv2", "scipy", "pyarrow", "faiss", "matplotlib")


def parsed(*argv: str) -> RunOptions:
    parser = CommandParser("dedup", "", runs=True)
    parser.add_argument("photos", nargs="+")
    add_run_options(parser)
    return run_options(parser.parse(["photos", *argv])[0])


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert cli.main(list(argv)) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys; from copydetect.pipelines import cli; code = cli.main(sys.argv[1:]); "
        f"heavy = sorted(set({HEAVY!r}) & set(sys.modules)); assert not heavy, heavy; "
        "sys.exit(code)"
    )
    asked = [sys.executable, "-c", code, *command, "--help"]
    ended = subprocess.run(asked, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "usage: copydetect" in ended.stdout


def test_a_typing_error_is_answered_at_once() -> None:
    code = (
        "import sys; from copydetect.pipelines import cli; "
        "code = cli.main(['dedup', 'x', '--efort', 'fast']); "
        f"assert code == 2; assert not set({HEAVY!r}) & set(sys.modules)"
    )
    started = time.process_time()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
    assert time.process_time() - started < 5


def test_commands_are_listed_and_others_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert "dedup" in capsys.readouterr().out
    assert "did you mean dedup?" in refusal(capsys, "dedupe")
    assert cli.main([]) == 2


def test_python_m_is_the_command() -> None:
    asked = [sys.executable, "-m", "copydetect", "--version"]
    assert subprocess.run(asked, capture_output=True, text=True).stdout.startswith("copydetect ")


@pytest.mark.parametrize("spelling", ["--no_report", "--no-report"])
def test_hyphens_and_underscores_are_one(spelling: str) -> None:
    assert parsed(spelling).report is False
    assert parsed().report is True


@pytest.mark.parametrize("text", ["97%", "0.97", "97.0%"])
def test_a_share_may_be_written_in_percent(text: str) -> None:
    assert parsed("--precision", text).precision == pytest.approx(0.97)


def test_what_is_not_said_is_as_in_python() -> None:
    assert parsed() == RunOptions()


def test_values_reach_the_options() -> None:
    given = parsed(
        "--channels", "local", "--exclude", "a/*", "--exclude", "*.gif", "--min-score=-3"
    )
    assert given == RunOptions(channels=("local",), exclude=("a/*", "*.gif"), min_score=-3.0)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--out", "x"], "there is no option --out; did you mean --output?"),
        (["--efort", "fast"], "there is no option --efort; did you mean --effort?"),
        (["--effort", "fsat"], "did you mean fast?"),
        (["--precision", "much"], "'much' is not a share, such as 0.97 or 97%"),
        (["--k", "-3"], "--k"),
        (["--dry-run"], "there is no option --dry_run. Options of an engine need --runner."),
        (["--region=x"], "Options of an engine need --runner"),
        (["--verb"], "--verb"),
    ],
)
def test_a_wrong_word_is_named_in_two_lines(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(capsys, "dedup", "photos", "-o", "out", *argv)
    assert told in message
    assert len(message.splitlines()) == 2


def test_options_that_mean_nothing_are_not_offered(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["match", "--queries", "q", "--references", "r", "-o", "out", "--keep", "first"]
    assert "there is no option --keep" in refusal(capsys, *arguments)


def test_options_of_an_engine_are_told_apart_from_inputs() -> None:
    parser = CommandParser("dedup", "", runs=True)
    parser.add_argument("photos", nargs="+")
    argv = ["a", "--runner", "FlinkRunner", "b", "--flink_master=h:1", "--streaming", "--quiet"]
    arguments, engine = parser.parse(argv)
    assert arguments.photos == ["a", "b"]
    assert engine.flags == ("--runner=FlinkRunner", "--flink_master=h:1", "--streaming")


@pytest.mark.parametrize("make", [parsed, lambda *argv: RunOptions(precision=1.5)])
def test_both_fronts_refuse_in_one_sentence(make: Callable[..., RunOptions]) -> None:
    with pytest.raises(OptionError, match=r"^precision is 1.5; it must be above 0 and below 1"):
        make("--precision", "150%")


@pytest.mark.parametrize(
    "changes",
    [
        {"effort": "hard"},
        {"keep": "biggest"},
        {"channels": ("colour",)},
        {"channels": ()},
        {"k": 0},
        {"lists": -1},
        {"min_confidence": 1.1},
        {"max_failed_fraction": -0.1},
        {"max_megapixels": 0.0},
        {"precision": 0.9, "min_confidence": 0.5},
        {"precision": 0.9, "calibration": "none"},
    ],
)
def test_options_are_checked_when_they_are_made(changes: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(changes))):
        RunOptions().changed(**changes)


def test_an_option_that_is_none_is_named_with_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"no option 'efort'; did you mean effort\?"):
        RunOptions().changed(efort="fast")


def failed(message: str) -> TooManyFailuresError:
    return TooManyFailuresError(message)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no such folder"), 2),
        (OptionError("k must be positive"), 2),
        (ModelError("not a model"), 2),
        (StageError("stage describe failed"), 1),
        (RunError("a table is missing"), 1),
        (failed("9 of 10 failed"), 3),
        (TransientError("locked"), 75),
        (OSError(28, "No space left on device", "out"), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_errors_become_one_line_and_an_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def job() -> None:
        raise error

    assert exit_code_of(job) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_programming_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code_of(lambda: 1 // 0)


def test_an_input_that_is_not_there_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    code = f"""
import sys
import copydetect
from copydetect.errors import InputError
try:
    copydetect.dedup({str(tmp_path / "nowhere")!r}, {str(tmp_path / "out")!r})
except InputError as error:
    assert str(error).endswith("nowhere does not exist")
    assert not {{"apache_beam", "torch", "cv2"}} & set(sys.modules)
else:
    raise AssertionError("it was taken")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
