"""Stages one after the other in one graph: what is to do is decided when all before is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, PCollection


class Planned(beam.PTransform[Any, Any]):
    """Whatever is given → the elements that `plan` returns, once all that is given is there.

    So what depends on results of a stage, such as how many there are, is decided on a worker, and
    the next stage is a part of the same job. `plan` must be picklable; what it returns is small.
    """

    def __init__(self, plan: Callable[[], Iterable[Any]]) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, before: PCollection[Any]) -> PCollection[Any]:
        planned: PCollection[Any] = (
            before.pipeline
            | "Once" >> beam.Create([None])
            | "Plan" >> beam.FlatMap(_planned, self._plan, AsIter(before))
        )
        return planned


def _planned(_: None, plan: Callable[[], Iterable[Any]], before: Iterable[Any]) -> Iterator[Any]:
    for _ in before:
        pass
    yield from plan()
