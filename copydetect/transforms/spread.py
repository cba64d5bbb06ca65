"""Elements, each for whichever worker is free."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect.workers.processes import Processes


class Spread(beam.PTransform[Any, Any]):
    """The same elements, each for whichever worker is free.

    Where one thread hands them to processes, whichever is free takes the next, and a reshuffle
    would only cost time.
    """

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._reshuffles = processes.count < 2

    def expand(self, elements: PCollection[Any]) -> PCollection[Any]:
        return elements | beam.Reshuffle() if self._reshuffles else elements
