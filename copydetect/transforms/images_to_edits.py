"""Listing → edited copies: image files, and one part file of their ground truth for each part."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from copydetect import runs, tables
from copydetect.edits.copies import COPIES, CopyOptions, copies_of, load_others
from copydetect.errors import ImageError, is_transient
from copydetect.inputs.listed_parts import ListedRows, unpacked
from copydetect.inputs.listing import LISTING, ListedImage, byte_identical, read_in_turn
from copydetect.parts import part_count
from copydetect.run_folder import RunFolder
from copydetect.storage.files import Storage
from copydetect.transforms.refs_to_parts import RefsToParts
from copydetect.transforms.run_in_processes import Count, RunInProcesses
from copydetect.types import Failure, ImageRef, Pixels
from copydetect.workers.processes import Processes

EDITED = "edited"
_BYTES_TOGETHER = 32 << 20
"""Copies that are held until they are written, with one record of all."""


@dataclass(frozen=True)
class EditsJob:
    """How copies are made, and where. images: folder of the copies; folder: of the part files;
    others: pictures to paste with."""

    storage: Storage
    options: CopyOptions
    images: str
    folder: str
    others: tuple[ImageRef, ...] = ()

    def part_uri(self, table: str, part: int) -> str:
        """Where a part of `copies` or `failures` is."""
        return runs.join(self.folder, table, runs.part_name(part))

    def part_uris(self, table: str, parts: int) -> tuple[str, ...]:
        """Where all parts are."""
        return tuple(self.part_uri(table, part) for part in range(parts))


def edits_of_sample(
    place: RunFolder,
    images: Sequence[ListedImage],
    options: CopyOptions,
    others: tuple[ImageRef, ...] = (),
) -> tuple[EditsJob, str, int]:
    """How some images of a run are edited by one mix; the file of their listing, which is written,
    and the number of their parts. The copies of all mixes are below `EDITED`."""
    mix = options.mix
    uri = runs.join(place.folder, "sample", f"{mix}.parquet")
    tables.write_table(place.storage, uri, tables.rows_to_table(images, LISTING))
    copies, parts = (runs.join(place.folder, name, mix) for name in (EDITED, "edits"))
    job = EditsJob(place.storage, options, copies, parts, others)
    return job, uri, part_count(max(len(images), 1))


class _Others(list[Pixels]):
    """A list that `Shared` can hold: it takes only what weak references can point to."""


@dataclass(eq=False, repr=False)
class ImagesToEdits(beam.PTransform[Any, Any]):
    """URIs of listing files → part numbers, once the copies of the part's images are written. None
    is passed on.

    parts: how many there are; wanted: those still to be done.
    """

    job: EditsJob
    parts: int
    wanted: Collection[int]
    processes: Processes = field(default_factory=Processes)

    def expand(self, uris: PCollection[str]) -> PCollection[int]:
        parts: PCollection[int] = (
            uris
            | "parts" >> RefsToParts(self.job.storage, self.parts, self.wanted)
            | "edit" >> beam.ParDo(RunInProcesses(_PartEditor(self.job).edit, self.processes))
            | "count" >> beam.ParDo(Count("copydetect", "copies_made", "images_failed"))
        )
        return parts


Edited = tuple[int, int, int]
"""A part's number, how many copies were made of its images, and how many of these failed."""


@dataclass(frozen=True, eq=False)
class _PartEditor:
    """Edits parts; each process loads the other pictures once."""

    job: EditsJob
    _shared: Shared = field(default_factory=Shared, init=False)

    def edit(self, work: tuple[int, list[ListedRows]]) -> Edited:
        """Write the files of a part."""
        part, listed = work
        rows, failures = self._edit(unpacked(listed))
        job = self.job
        failed = tables.rows_to_table(failures, tables.FAILURES)
        tables.write_table(job.storage, job.part_uri("failures", part), failed)
        # `copies` is written last: where it is, the part is complete.
        copies = pa.Table.from_pylist(rows, schema=COPIES)
        tables.write_table(job.storage, job.part_uri("copies", part), copies)
        return part, len(rows), len(failures)

    def _edit(self, listed: list[ListedImage]) -> tuple[list[dict[str, object]], list[Failure]]:
        """Write the copies of each image; those of byte-identical files are copies of each."""
        families = byte_identical(listed)
        failures = [
            first.failure("list", first.error_type, first.message, first.retryable)
            for first, *_ in families
            if first.error_type
        ]
        job = self.job
        others = self._shared.acquire(lambda: _Others(load_others(job.storage, job.others)))
        rows = []
        made: dict[str, bytes] = {}
        readable = [twins for twins in families if not twins[0].error_type]
        for twins, content in read_in_turn(job.storage, readable):
            if isinstance(content, Failure):
                failures.append(content)
                continue
            try:
                name = twins[0].image_id
                for copy in copies_of(name, content, job.options, others):
                    made[copy.query_id] = copy.data
                    rows += [copy.row(original.image_id) for original in twins]
            except ImageError as error:
                why = ("edit", "ImageError", str(error), is_transient(error))
                failures += [image.failure(*why) for image in twins]
            if sum(map(len, made.values())) >= _BYTES_TOGETHER:
                job.storage.write_together(job.images, made)
                made = {}
        if made:
            job.storage.write_together(job.images, made)
        return rows, failures
