"""The parser of all commands: one spelling of options, errors in two lines, engine options apart.

Nothing heavy is imported here, so that `--help` and a typing error are answered at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn, get_args

from copydetect.errors import OptionError
from copydetect.options import (
    EngineOptions,
    LogFormat,
)
from copydetect.spelling import suggestion

from .config import apply_config, read_config
from .exit_codes import BAD_ARGUMENTS, exit_code_of

INPUTS = "folders, globs, manifests (.csv, .parquet), .tar shards, Parquet of images, or images"

TRUST_MODEL = (
    "allow a TorchScript model. It is a program that can read and write your files; weights in "
    "safetensors are only numbers"
)

_LOCAL_FLAGS = ("runner", "direct_num_workers", "direct_running_mode")
_STORAGE_FLAGS = ("s3_", "azure_", "blob_service_", "gcs_", "project")
"""Options of Beam that say how buckets are reached: they matter on this machine, too."""

_CACHE_HINT = (
    "Options of Apache Beam, such as --runner and those of its engine, are passed on. Workers "
    "keep downloads in their temporary folder, at most 50 GB; the environment variable "
    "COPYDETECT_CACHE_GB sets another limit."
)


class CommandParser(argparse.ArgumentParser):
    """A parser that takes `--no-report` as `--no_report`, and explains an error in two lines.

    runs: whether the command runs pipelines; then it takes options of an engine as well.
    """

    def __init__(self, command: str, description: str, runs: bool = False) -> None:
        super().__init__(
            prog=f"copydetect {command}",
            description=description,
            allow_abbrev=False,
            epilog=_CACHE_HINT if runs else None,
        )
        self._runs = runs
        self._command = command
        self.add_argument(
            "--config", metavar="TOML", help="a file of options, for what the command line omits"
        )
        if runs:
            self.add_argument(
                "--workers",
                type=whole_number,
                default=0,
                metavar="N",
                help="how many processors to use on this machine (all)",
            )
            volume = self.add_mutually_exclusive_group()
            volume.add_argument("--quiet", action="store_true", help="print nothing but errors")
            volume.add_argument("--verbose", action="store_true", help="print all log messages")
            self.add_argument(
                "--log_format",
                choices=get_args(LogFormat),
                default="text",
                help="what standard error gets: text, or one JSON object per line (text)",
            )

    def parse(self, argv: Sequence[str]) -> tuple[argparse.Namespace, EngineOptions]:
        """The arguments and the options of the engine; SystemExit after `--help` or an error."""
        ours, flags = self._split([_one_spelling(word) for word in argv])
        flags = [*self._configured(ours), *flags]
        self._refuse_unknown(flags)
        arguments = self.parse_intermixed_args(ours)
        if not self._runs:
            return arguments, EngineOptions()
        engine = EngineOptions(
            tuple(flags),
            arguments.workers,
            not arguments.quiet,
            arguments.verbose,
            arguments.log_format,
        )
        return arguments, engine

    def _configured(self, words: Sequence[str]) -> list[str]:
        """Take what a configuration file says as defaults; options of the engine that it has."""
        given = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        given.add_argument("--config")
        path = given.parse_known_args(words)[0].config
        if path is None:
            return []
        try:
            values = read_config(path, self._command.split()[0])
            left = apply_config(self, path, values)
        except OptionError as error:
            self.error(str(error))
        return [f"--{name}={value}" for name, value in left.items()]

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how to learn more, and end with the code of bad arguments."""
        self.exit(BAD_ARGUMENTS, f"{self.prog}: {message}\n`{self.prog} --help` tells more.\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action,
                f"{value!r} is not one of {', '.join(choices)}{suggestion(str(value), choices)}",
            )

    def _split(self, argv: Sequence[str]) -> tuple[list[str], list[str]]:
        """Split the words: those of this parser, and options that it does not know, with their
        values."""
        ours: list[str] = []
        flags: list[str] = []
        words = iter(range(len(argv)))
        for at in words:
            word = argv[at]
            if not _is_option(word) or word.split("=")[0] in self._option_string_actions:
                ours.append(word)
                continue
            has_value = "=" not in word and at + 1 < len(argv) and not _is_option(argv[at + 1])
            flags.append(f"{word}={argv[next(words)]}" if has_value else word)
        return ours, flags

    def _refuse_unknown(self, flags: Sequence[str]) -> None:
        """End where an option is neither ours nor one of an engine that is asked for.

        Which options an engine has is checked where it is started.
        """
        names = [flag.split("=")[0].lstrip("-") for flag in flags]
        if self._runs and "runner" in names:
            return
        for name in names:
            if self._runs and (name in _LOCAL_FLAGS or name.startswith(_STORAGE_FLAGS)):
                continue
            known = [option for option in self._option_string_actions if option.startswith("--")]
            near = suggestion(f"--{name}", known)
            engine = " Options of an engine need --runner." if self._runs else ""
            self.error(f"there is no option --{name}{near or '.'}{engine}")


def run_command(
    parser: CommandParser,
    argv: Sequence[str],
    job: Callable[[argparse.Namespace, EngineOptions], object],
) -> int:
    """Parse, run, and return the exit code; `job` prints its own results."""
    try:
        arguments, engine = parser.parse(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    return exit_code_of(lambda: job(arguments, engine), engine.verbose, engine.log_format)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options for the output folder and the form of the summary."""
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="folder of the results"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as a JSON object")
    add_metrics(parser)


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Add the option for a file of metrics."""
    parser.add_argument(
        "--metrics_file",
        metavar="FILE",
        help="also write the figures of the run in Prometheus' text format, such as nightly.prom",
    )


def share(text: str) -> float:
    """A share, written as 0.97 or as 97%."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share, such as 0.97 or 97%") from None


def whole_number(text: str) -> int:
    """A whole number, from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def names(text: str) -> tuple[str, ...]:
    """Words with commas between."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _is_option(word: str) -> bool:
    return word.startswith("--") and len(word) > 2


def _one_spelling(word: str) -> str:
    """`--no-report=x-y` as `--no_report=x-y`."""
    if not _is_option(word):
        return word
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}"


def refuse_unknown_flags(flags: Sequence[str], known: Collection[str]) -> None:
    """OptionError, with the nearest spelling, for an option that the engine does not have.

    known: names of all options of the engine.
    """
    for flag in flags:
        name = flag.split("=")[0].lstrip("-")
        if name not in known:
            raise OptionError(f"there is no option --{name}{suggestion(name, known)}")
