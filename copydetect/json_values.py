"""JSON → values of a declared type, each checked: files may be damaged, old or made by hand."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar, Union, cast

_T = TypeVar("_T")

_PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def parse_json(data: bytes | str) -> Any:
    """What JSON text holds; ValueError for anything that is not JSON, or is nested too deeply."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_as(kind: type[_T], data: bytes | str) -> _T:
    """JSON text as a dataclass; ValueError says which value is wrong, and what it should be."""
    return cast("_T", value_of(kind, parse_json(data)))


def value_of(kind: Any, value: Any, name: str = "it") -> Any:
    """A parsed value as a `kind`: a dataclass, a plain type, a list, tuple or dict of these, or one
    that may be None.

    Fields of a dataclass that have a default may be missing. ValueError names what is wrong; what a
    dataclass itself raises when it is made is passed on.
    """
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass_of(kind, value, name)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        (kind,) = (one for one in inner if one is not type(None))
        return None if value is None else value_of(kind, value, name)
    if origin is Literal:
        return _expected(value in inner, value, name, f"one of {', '.join(map(str, inner))}")
    if origin in (list, tuple):
        return _sequence_of(origin, inner, value, name)
    if origin in (dict, Mapping):
        _expected(isinstance(value, dict), value, name, "an object")
        return {key: value_of(inner[1], one, f"{name}.{key}") for key, one in value.items()}
    return _plain(kind, value, name)


def _dataclass_of(kind: Any, value: Any, name: str) -> Any:
    _expected(isinstance(value, dict), value, name, "an object")
    hints, fields = _fields_of(kind)
    prefix = "" if name == "it" else f"{name}."
    for stranger in sorted(value.keys() - fields.keys()):
        raise ValueError(f"{prefix}{stranger} is unknown")
    for key, field in fields.items():
        needed = field.default is field.default_factory is dataclasses.MISSING
        if needed and key not in value:
            raise ValueError(f"{prefix}{key} is missing")
    return kind(**{key: value_of(hints[key], value[key], f"{prefix}{key}") for key in value})


@lru_cache(maxsize=64)
def _fields_of(kind: Any) -> tuple[dict[str, Any], dict[str, dataclasses.Field[Any]]]:
    """The types and the fields of a dataclass; finding its types compiles their texts."""
    return typing.get_type_hints(kind), {field.name: field for field in dataclasses.fields(kind)}


def _sequence_of(origin: Any, inner: tuple[Any, ...], value: Any, name: str) -> Any:
    _expected(isinstance(value, list), value, name, "a list")
    kinds = list(inner)
    if origin is list or (len(inner) == 2 and inner[1] is Ellipsis):
        kinds = [inner[0]] * len(value)
    _expected(len(kinds) == len(value), value, name, f"a list of {len(kinds)}")
    # Long lists of numbers are common, and of one type or wrong.
    if {*kinds} in ({int}, {str}) and {*kinds} == set(map(type, value)):
        return origin(value)
    return origin(
        value_of(kind, one, f"{name}[{place}]")
        for place, (kind, one) in enumerate(zip(kinds, value, strict=True))
    )


def _plain(kind: Any, value: Any, name: str) -> Any:
    # true and false are numbers to Python.
    if kind in (int, float) and isinstance(value, bool):
        _expected(False, value, name, _PLAIN[kind])
    if kind is float and isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            _expected(False, value, name, _PLAIN[kind])
    return _expected(isinstance(value, kind), value, name, _PLAIN.get(kind, str(kind)))


def _expected(right: bool, value: Any, name: str, wanted: str) -> Any:
    if not right:
        shown = json.dumps(value, default=str)
        raise ValueError(f"{name} is {shown[:60]}, not {wanted}")
    return value
