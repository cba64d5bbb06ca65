"""Steps in one job that wait for each other: a step begins when everything before it is done.

The work of a step is spread over the workers. What it returns is gathered on one of them, which
decides what the next step works on. A step may have nothing to do, and the next one must begin all
the same, so `None` travels beside the elements of every step and is passed on by all of them. There
are no side inputs, and a job has one source: Flink starts all sources of a job at once, and holds
their results in buffers that are few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

Plan = Callable[..., Iterable[Any] | None]


class GatherThen(beam.PTransform[Any, Any]):
    """Elements of one step → `None`, and what `plan(*arguments, elements)` returns for the next.

    plan: is called once all elements are there; gets them as a list in any order, without `None`,
    and returns the new elements, or None where there are none. It must be picklable, and what it
    gets and returns must fit into memory.
    """

    def __init__(self, plan: Plan, *arguments: Any) -> None:
        super().__init__()
        self._call = plan, arguments

    def expand(self, before: PCollection[Any]) -> PCollection[Any]:
        after: PCollection[Any] = (
            before
            | "Key" >> beam.Map(_keyed)
            | "Gather" >> beam.GroupByKey()
            | "Plan" >> beam.FlatMap(_planned, *self._call)
        )
        return after


class WaitThen(GatherThen):
    """The same with `plan(*arguments)`, where the elements only say that a step is done."""

    def __init__(self, plan: Plan, *arguments: Any) -> None:
        super().__init__(_without_elements, plan, arguments)


class Then(beam.PTransform[Any, Any]):
    """One element, such as a stage begins with → `None`, and what `plan(*arguments)` returns: as
    `WaitThen`, but there is nothing to gather."""

    def __init__(self, plan: Plan, *arguments: Any) -> None:
        super().__init__()
        self._call = plan, arguments

    def expand(self, start: PCollection[Any]) -> PCollection[Any]:
        planned: PCollection[Any] = start | "Plan" >> beam.FlatMap(_begun, *self._call)
        return planned


class Elements(Then):
    """One element → `None`, and the elements that are named here."""

    def __init__(self, elements: Iterable[Any]) -> None:
        super().__init__(list, elements)


def _keyed(element: Any) -> tuple[int, Any]:
    return 0, element


def _planned(
    gathered: tuple[int, Iterable[Any]], plan: Plan, arguments: tuple[Any, ...]
) -> Iterator[Any]:
    yield None
    yield from plan(*arguments, [one for one in gathered[1] if one is not None]) or ()


def _without_elements(plan: Plan, arguments: tuple[Any, ...], _: list[Any]) -> Iterable[Any] | None:
    return plan(*arguments)


def _begun(_: Any, plan: Plan, arguments: tuple[Any, ...]) -> Iterator[Any]:
    yield None
    yield from plan(*arguments) or ()
