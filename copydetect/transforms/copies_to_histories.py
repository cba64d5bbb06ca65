"""Copies → what their files tell of their past: one part file for each batch of images."""

from __future__ import annotations

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


class CopiesToHistories(beam.PTransform[Any, Any]):
    """`HistoryWork` → numbers of batches, once their files are in `folder`. None is passed on."""

    def __init__(
        self,
        storage: Storage,
        folder: str,
        options: DecodeOptions,
        processes: Processes | None = None,
    ) -> None:
        super().__init__()
        self._reader = _Reader(storage, folder, options)
        self._processes = processes or Processes()

    def expand(self, work: PCollection[HistoryWork]) -> PCollection[int]:
        done: PCollection[int] = work | "read" >> OnWorkers(self._reader.read, self._processes)
        return done


class _Reader:
    """Reads batches of image files."""

    def __init__(self, storage: Storage, folder: str, options: DecodeOptions) -> None:
        self._storage = storage
        self._folder = folder
        self._options = options

    def read(self, work: HistoryWork) -> int:
        """Write the file of a batch."""
        batch, refs = work
        table = histories_of(self._storage, refs, self._options)
        uri = runs.join(self._folder, runs.part_name(batch))
        tables.write_table(self._storage, uri, table)
        return batch
