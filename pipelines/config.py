"""Options of a command from a TOML file, for what does not change from night to night.

    catalog = "/data/catalogue"
    workers = 8

    [nightly]                       # of one command alone
    input = ["/data/incoming"]
    max_failed_fraction = 0.2
    report = false

Keys are the names of options, with `_` or `-`; what the command line says comes first.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from copydetect.errors import OptionError
from copydetect.spelling import suggestion

from .command_names import COMMANDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PLAIN = (str, int, float, bool)


def read_config(path: str, command: str) -> dict[str, Any]:
    """The options that a file gives to a command; OptionError where it is no such file."""
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise OptionError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not a TOML file: {error}") from error
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    for name in tables:
        if name not in COMMANDS:
            raise OptionError(
                f"{path}: [{name}] is not a command of copydetect{suggestion(name, COMMANDS)}"
            )
    found = {name: value for name, value in content.items() if name not in tables}
    found |= tables.get(command, {})
    return {name.replace("-", "_"): value for name, value in found.items()}


def apply_config(
    parser: argparse.ArgumentParser, path: str, values: dict[str, Any]
) -> dict[str, str]:
    """Make the options of a file the defaults of a parser; returns those that it does not have.

    OptionError names an option whose value does not fit.
    """
    actions = {option.lstrip("-"): one for one in parser._actions for option in one.option_strings}
    by_dest = {one.dest: one for one in parser._actions if one.option_strings}
    left = {}
    for name, value in values.items():
        action = by_dest.get(name) or actions.get(name)
        if name in ("config", "help") or not _fits(value):
            raise OptionError(f"{path}: {name} cannot be {value!r}")
        if action is None:
            left[name] = str(value)
            continue
        try:
            action.default = _value(parser, action, name, value)
        except (argparse.ArgumentError, TypeError) as error:
            raise OptionError(f"{path}: {name} is {value!r}: {error}") from error
        action.required = False
    return left


def _fits(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, str) for one in value)
    return isinstance(value, _PLAIN)


def _value(parser: argparse.ArgumentParser, action: argparse.Action, name: str, value: Any) -> Any:
    """A value as the parser would have it; a flag's is whether it is given."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise TypeError("write true or false")
        return value if name == action.dest else not value
    several = action.nargs == "+" or isinstance(action, argparse._AppendAction)
    if several:
        return [str(one) for one in (value if isinstance(value, list) else [value])]
    text = ",".join(value) if isinstance(value, list) else str(value)
    found = parser._get_value(action, text)
    parser._check_value(action, found)
    return found
