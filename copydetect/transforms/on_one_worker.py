"""Steps of a small stage, one after the other, in the process that has the start.

Every exchange between workers costs an engine the same, however little there is to exchange: of a
small collection that is searched on Flink, exchanges take most of the time. What a step does is
the same here and there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.ptransform import _NamedPTransform
from apache_beam.utils.windowed_value import WindowedValue

from copydetect.transforms.run_in_processes import RunInProcesses

Build = Callable[[Any], Any]
"""From the elements that a stage begins with to those that it ends with: a collection of Beam's, or
`InTurn`."""


class OnOneWorker(beam.DoFn):
    """None, when a stage may begin → None, once all of its steps are done."""

    def __init__(self, build: Build) -> None:
        self._build = build

    def process(self, start: None) -> Iterator[None]:
        self._build(InTurn([start]))
        yield None


class InTurn:
    """Elements that are here. As with a collection of Beam's, `|` gives those of the next step,
    which is done at once: a `ParDo`, a grouping, or a transform that is made of these.

    cpu_msec: processor time that the parts have taken so far.
    """

    def __init__(self, elements: Iterable[Any], cpu_msec: int = 0) -> None:
        self.elements = list(elements)
        self.cpu_msec = cpu_msec

    def __or__(self, step: beam.PTransform[Any, Any]) -> InTurn:
        if isinstance(step, _NamedPTransform):
            step = step.transform
        if isinstance(step, beam.ParDo):
            done = list(_done(step, self.elements))
            taken = step.fn.cpu_msec if isinstance(step.fn, RunInProcesses) else 0
            return InTurn(done, self.cpu_msec + taken)
        if isinstance(step, beam.GroupByKey):
            return InTurn(_grouped(self.elements), self.cpu_msec)
        if isinstance(step, beam.Reshuffle):
            return self
        after: InTurn = step.expand(self)
        return after


def _done(step: beam.ParDo, elements: Iterable[Any]) -> Iterator[Any]:
    """What a step without side inputs gives for all elements, as one bundle."""
    work = step.fn
    work.setup()
    work.start_bundle()
    for element in elements:
        yield from work.process(element, *step.args, **step.kwargs) or ()
    for one in work.finish_bundle() or ():
        yield one.value if isinstance(one, WindowedValue) else one
    work.teardown()


def _grouped(pairs: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, list[Any]]]:
    groups: dict[Any, list[Any]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups.items()
