"""Options from a file, logs as JSON, figures for Prometheus."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from copydetect.options import EngineOptions
from copydetect.pipelines.arguments import CommandParser
from copydetect.pipelines.exit_codes import exit_code_of
from copydetect.pipelines.logs import line_of
from copydetect.pipelines.metrics import write_metrics
from copydetect.pipelines.run_arguments import add_run_options, run_options

NIGHT = """
catalog = "/data/cat"
workers = 3
log_format = "json"

[nightly]
input = ["a", "b"]
max-failed-fraction = "20%"
keep = ["raw", "largest"]
exclude = ["*.tmp"]
k = 12
report = false
quiet = true

[dedup]
no_such_option = 1
"""


def _parser() -> CommandParser:
    parser = CommandParser("nightly", "", True)
    parser.add_argument("--catalog", required=True)
    parser.add_argument("--input", nargs="+")
    add_run_options(parser)
    return parser


def _file(folder: Path, text: str) -> str:
    (folder / "night.toml").write_text(text)
    return str(folder / "night.toml")


def test_a_file_gives_what_the_command_line_omits(tmp_path: Path) -> None:
    config = _file(tmp_path, NIGHT)
    arguments, engine = _parser().parse(["--config", config, "--k=9", "--workers", "1"])
    assert (arguments.catalog, arguments.input) == ("/data/cat", ["a", "b"])
    assert engine == EngineOptions(workers=1, log_format="json")
    options = run_options(arguments)
    assert options.max_failed_fraction == 0.2
    assert options.keep == ("raw", "largest")
    assert options.exclude == ("*.tmp",)
    assert (options.k, options.report) == (9, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("k = ", "not a TOML file"),
        ("[nightlyy]", "did you mean nightly"),
        ('effrt = "fast"', "did you mean --effort"),
        ('effort = "quick"', "'quick' is not one of fast, standard, thorough"),
        ("k = -1", "not a whole number"),
        ('report = "no"', "write true or false"),
        ("catalog = 2026-01-01", "catalog cannot be"),
        ('config = "other.toml"', "config cannot be"),
    ],
)
def test_a_file_with_a_mistake_is_told(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _parser().parse(["--config", _file(tmp_path, text), "--catalog=c"])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse(["--config=nowhere.toml", "--catalog=c"])
    assert "nowhere.toml" in capsys.readouterr().err


def test_options_of_an_engine_may_be_in_the_file(tmp_path: Path) -> None:
    config = _file(tmp_path, 'runner = "FlinkRunner"\nparallelism = 4')
    _, engine = _parser().parse(["--config", config, "--catalog=c"])
    assert engine.flags == ("--runner=FlinkRunner", "--parallelism=4")


def test_logs_are_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert line_of("describe: 3 s", "text", stage="describe") == "describe: 3 s"
    line = json.loads(line_of("describe: 3 s", "json", stage="describe", seconds=3.0))
    assert (line["message"], line["level"], line["seconds"]) == ("describe: 3 s", "info", 3.0)

    def fail() -> None:
        raise FileNotFoundError(2, "No such file", "a.jpg")

    assert exit_code_of(fail, log_format="json") == 1
    said = json.loads(capsys.readouterr().err)
    assert (said["level"], said["exit_code"]) == ("error", 1)
    assert "a.jpg" in said["message"]


def test_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    path = tmp_path / "night.prom"
    labels = {"command": "nightly", "catalog": 'C:\\a "b"\n'}
    write_metrics(str(path), labels, {"images": 12}, {"search new": 1.5}, {"unit": 0.25})
    lines = path.read_text().splitlines()
    sample = re.compile(r'[a-z_]+\{([a-z_]+="([^"\\\n]|\\["\\n])*",?)+\} [0-9.e+-]+')
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)
    assert any(line.startswith("copydetect_images{") and line.endswith(" 12.0") for line in lines)
    assert any('stage="search new"' in line and line.endswith(" 1.5") for line in lines)
    assert any(line.startswith("copydetect_last_success_timestamp_seconds{") for line in lines)
    assert [path.name] == [file.name for file in tmp_path.iterdir()]
