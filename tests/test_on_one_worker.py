"""Stages that one worker does alone give what they give when they are spread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from copydetect.pipelines.chains import Stage, chain
from copydetect.pipelines.progress import Progress
from copydetect.transforms.on_one_worker import InTurn
from copydetect.transforms.run_in_processes import Count, OnWorkers
from copydetect.transforms.waiting import Elements, GatherThen, Then, WaitThen
from copydetect.workers.processes import Processes


class _Held(beam.DoFn):
    """Gives what it was given at the end of a bundle."""

    def start_bundle(self) -> None:
        self._held: list[Any] = []

    def process(self, element: Any) -> None:
        self._held.append(element)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for one in self._held:
            yield WindowedValue(one, MIN_TIMESTAMP, (GlobalWindow(),))


class _Squares(beam.PTransform[Any, Any]):
    """Numbers → a few more of them, their squares and the sum of these."""

    def expand(self, numbers: Any) -> Any:
        return (
            numbers
            | "more" >> GatherThen(sorted)
            | "square" >> OnWorkers(_square, Processes())
            | "hold" >> beam.ParDo(_Held())
            | "count" >> beam.ParDo(Count("tests", "squares"))
            | "sum" >> GatherThen(_with_sum)
        )


def _square(number: int) -> tuple[int, int]:
    return number * number, 1


def _with_sum(squares: list[int]) -> list[int]:
    return [*sorted(squares), sum(squares)]


def _steps(start: Any) -> Any:
    numbers = start | "numbers" >> Elements([3, 1, 2])
    return numbers | "squares" >> _Squares()


WANTED = [None, 1, 4, 9, 14]


def test_steps_give_the_same_in_turn_and_in_a_pipeline() -> None:
    assert _steps(InTurn([None])).elements == WANTED
    with test_pipeline.TestPipeline() as pipeline:
        assert_that(_steps(pipeline | beam.Create([None])), equal_to(WANTED))


@pytest.mark.parametrize("plan", [Then(range, 2), WaitThen(range, 2)])
def test_a_plan_gives_its_elements_in_turn(plan: beam.PTransform[Any, Any]) -> None:
    assert (InTurn([None]) | plan).elements == [None, 0, 1]
    assert (InTurn([None]) | WaitThen(_nothing)).elements == [None]


def _nothing() -> None:
    return None


def test_a_stage_that_one_worker_does_is_done_before_the_next(tmp_path: Any) -> None:
    def noting(name: str, alone: bool) -> Stage[None]:
        plan = WaitThen(_note, str(tmp_path), name)
        return Stage(name, lambda start: start | plan, None, Progress(name), alone=alone)

    with test_pipeline.TestPipeline() as pipeline:
        chain(pipeline, [noting("a", True), noting("b", True), noting("c", False)])
    assert (tmp_path / "notes").read_text() == "abc"


def _note(folder: str, name: str) -> None:
    with open(f"{folder}/notes", "a") as notes:
        notes.write(name)


def test_alone_stages_need_no_exchange_between_workers() -> None:
    def shuffles(alone: bool) -> int:
        pipeline = beam.Pipeline()
        chain(pipeline, [Stage(name, _steps, None, Progress(name), alone=alone) for name in "ab"])
        proto = pipeline.to_runner_api()
        urns = [one.spec.urn for one in proto.components.transforms.values()]
        return urns.count("beam:transform:group_by_key:v1")

    assert (shuffles(alone=True), shuffles(alone=False)) == (0, 8)
