"""Copies → what their files tell of their past: one part file for each batch of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from copydetect import runs, tables
from copydetect.grouping.histories import histories_of
from copydetect.images.decoding import DecodeOptions
from copydetect.storage.files import Storage
from copydetect.transforms.run_in_processes import OnWorkers
from copydetect.types import ImageRef
from copydetect.workers.processes import Processes

HistoryWork = tuple[int, list[ImageRef]]
"""A batch's number and its images."""


@dataclass(eq=False, repr=False)
class CopiesToHistories(beam.PTransform[Any, Any]):
    """`HistoryWork` → numbers of batches, once their files are in `folder`. None is passed on."""

    storage: Storage
    folder: str
    options: DecodeOptions
    processes: Processes = field(default_factory=Processes)

    def expand(self, work: PCollection[HistoryWork]) -> PCollection[int]:
        read = partial(_read, self.storage, self.folder, self.options)
        done: PCollection[int] = work | "read" >> OnWorkers(read, self.processes)
        return done


def _read(storage: Storage, folder: str, options: DecodeOptions, work: HistoryWork) -> int:
    """Write the file of a batch."""
    batch, refs = work
    table = histories_of(storage, refs, options)
    tables.write_table(storage, runs.join(folder, runs.part_name(batch)), table)
    return batch
