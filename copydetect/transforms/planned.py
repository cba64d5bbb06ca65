"""Steps one after the other in one graph: what is to do is decided when all before is done.

A step's work is spread over workers; what it gives is gathered, and says what the next step works
on. So that a step that has nothing to do is followed by the next one all the same, `None` travels
with the work, and everything passes it on. There are no side inputs, and a job has one source: an
engine such as Flink starts all sources of a job at once, and holds their results in buffers that
are few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection


class Planned(beam.PTransform[Any, Any]):
    """Whatever is given → None, and the elements that `plan` returns once all that is given is
    there.

    plan: gets what was given, in any order, without None. It must be picklable, and what it gets
    and returns is small.
    """

    def __init__(self, plan: Callable[[list[Any]], Iterable[Any]]) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, before: PCollection[Any]) -> PCollection[Any]:
        planned: PCollection[Any] = (
            before
            | "Key" >> beam.Map(_keyed)
            | "Gather" >> beam.GroupByKey()
            | "Plan" >> beam.FlatMap(_planned, self._plan)
        )
        return planned


def told_nothing(plan: Callable[..., Iterable[Any]], *arguments: Any) -> Callable[[Any], Any]:
    """A plan that does not depend on what was given."""
    return partial(_told_nothing, plan, arguments)


def _told_nothing(
    plan: Callable[..., Iterable[Any]], arguments: tuple[Any, ...], _: list[Any]
) -> Iterable[Any]:
    return plan(*arguments)


class Given(beam.PTransform[Any, Any]):
    """One element → None, and the elements that are given here."""

    def __init__(self, elements: Iterable[Any]) -> None:
        super().__init__()
        self._elements = elements

    def expand(self, start: PCollection[Any]) -> PCollection[Any]:
        given: PCollection[Any] = start | "Give" >> beam.FlatMap(_given, self._elements)
        return given


def _keyed(element: Any) -> tuple[int, Any]:
    return 0, element


def _planned(
    gathered: tuple[int, Iterable[Any]], plan: Callable[[list[Any]], Iterable[Any]]
) -> Iterator[Any]:
    yield None
    yield from plan([element for element in gathered[1] if element is not None])


def _given(_: Any, elements: Iterable[Any]) -> Iterator[Any]:
    yield None
    yield from elements
