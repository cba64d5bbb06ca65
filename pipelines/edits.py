"""Labelled edited copies of a collection.

OUT/images/ holds the copies; OUT/ground_truth.csv says of which image each is a copy, OUT/edits.csv
what was done to it and where the image went. They are written last, when every copy is there.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import pyarrow as pa

from copydetect import runs, tables
from copydetect.edits.copies import COPIES, CopyOptions, choose_others
from copydetect.errors import OptionError, TooManyFailuresError
from copydetect.inputs.finding import find_sources
from copydetect.options import EngineOptions
from copydetect.parts import part_count
from copydetect.storage.files import Storage
from copydetect.storage.remote import RecordedStorage
from copydetect.transforms.images_to_edits import EditsJob, ImagesToEdits
from copydetect.workers.processes import Processes

from .engine import Engine, engine_of
from .outputs import output_folder, refuse_foreign
from .progress import Progress
from .stages import Listing, Workplace, list_images, share_written

_RESULTS = ("ground_truth.csv", "edits.csv", "failures.csv")
_LISTING = "run-listing"


@dataclass(frozen=True)
class EditsMade:
    """What `make_edits` left in `output`: labelled copies of `images` images.

    failed: how many images could not be edited; max_failed_fraction: how large a share may be.
    """

    output: str
    images: int
    copies: int
    failed: int
    max_failed_fraction: float

    def __str__(self) -> str:
        lines = [
            f"{self.copies:,} copies of {self.images:,} images in "
            f"{runs.join(self.output, 'images')}",
            f"what is a copy of what: {runs.join(self.output, 'ground_truth.csv')}",
        ]
        if self.failed:
            lines.append(f"{self.failed:,} images failed: {runs.join(self.output, 'failures.csv')}")
        return "\n".join(lines)

    def check(self) -> None:
        """TooManyFailuresError where more images failed than may."""
        if self.failed > self.max_failed_fraction * self.images:
            raise TooManyFailuresError(
                f"{self.failed:,} of {self.images:,} images failed, more than max_failed_fraction "
                f"{self.max_failed_fraction:g} allows"
            )


def make_edits(
    photos: Sequence[str],
    output: str,
    options: CopyOptions,
    engine_options: EngineOptions,
    others: str = "",
    max_failed_fraction: float = 0.1,
) -> EditsMade:
    """Edit every image of a collection; the same call continues what was interrupted.

    others: an input with pictures to paste with, none for made-up patterns. InputError where there
    are no images, or the folder holds files of others.
    """
    if not 0 <= max_failed_fraction <= 1:
        raise OptionError(f"max_failed_fraction is {max_failed_fraction:g}; it must be 0 to 1")
    engine = engine_of(engine_options)
    engine.fork()
    output = output_folder(output)
    refuse_foreign(output)
    storage = RecordedStorage(output, row_copies=runs.join(output, _LISTING, "rows"))
    sources = find_sources(storage, photos)
    pasted = choose_others(storage, others) if others else []
    listing_place = Workplace(storage, runs.join(output, _LISTING), engine)
    storage.delete(listing_place.folder)
    listing = list_images(listing_place, sources, "image")
    settings = {**dataclasses.asdict(options), "others": [ref.uri for ref in pasted]}
    folder = runs.join(output, runs.run_folder_name(settings, listing.digest))
    job = EditsJob(storage, options, runs.join(output, "images"), folder, tuple(pasted))
    _remove_earlier(storage, output, folder)
    parts = _make(engine, job, listing)
    copies = _part_tables(job, "copies", parts, COPIES)
    failures = _part_tables(job, "failures", parts, tables.FAILURES)
    _write_results(storage, output, copies, failures)
    storage.delete(listing_place.folder)
    storage.delete(folder)
    engine.processes.stop()
    made = len(copies["query_id"].unique())
    return EditsMade(output, listing.images, made, failures.num_rows, max_failed_fraction)


def _make(engine: Engine, job: EditsJob, listing: Listing) -> int:
    """Edit what is not edited yet; returns how many parts there are."""
    parts = part_count(listing.images)
    uris = job.part_uris("copies", parts)
    wanted = [part for part, uri in enumerate(uris) if not _is_done(job, uri)]
    processes = engine.processes if engine.processes.started else Processes()
    transform = ImagesToEdits(job, parts, wanted, processes)
    engine.run(
        "edit images",
        lambda pipeline: pipeline | beam.Create([None, *listing.uris]) | transform,
        Progress("edit images", partial(share_written, job.storage, uris), listing.images),
    )
    return parts


def _is_done(job: EditsJob, copies: str) -> bool:
    """Whether a part is finished, and all its copies are still there."""
    if not job.storage.is_whole(copies):
        return False
    names = tables.read_table(job.storage, copies, ["query_id"])["query_id"].unique()
    return all(job.storage.exists(runs.join(job.images, name)) for name in names.to_pylist())


def _part_tables(job: EditsJob, table: str, parts: int, schema: pa.Schema) -> pa.Table:
    return tables.read_tables(job.storage, job.part_uris(table, parts), schema)


def _remove_earlier(storage: Storage, output: str, folder: str) -> None:
    """Remove what another run left: its results first, so that no reader sees half of each."""
    for name in _RESULTS:
        storage.delete(runs.join(output, name))
    if not storage.exists(folder):
        storage.delete(runs.join(output, "images"))
    runs.remove_other_runs(storage, output, folder.rpartition("/")[2])


def _write_results(storage: Storage, output: str, copies: pa.Table, failures: pa.Table) -> None:
    texts, numbers = ["query_id", "reference_id", "edits"], ["transform", "region"]
    rows = sorted(copies.to_pylist(), key=lambda row: (row["query_id"], row["reference_id"]))
    failed = sorted(failures.to_pylist(), key=lambda row: str(row["image_id"]))
    names = tables.FAILURES.names
    _write_csv(storage, output, "failures.csv", names, ([r[n] for n in names] for r in failed))
    edits = (
        [*(row[name] for name in texts), *(_numbers(row[name]) for name in numbers)] for row in rows
    )
    _write_csv(storage, output, "edits.csv", texts + numbers, edits)
    pairs = ([row["query_id"], row["reference_id"]] for row in rows)
    _write_csv(storage, output, "ground_truth.csv", ["query_id", "reference_id"], pairs)


def _write_csv(
    storage: Storage, output: str, name: str, header: list[str], rows: Iterable[list[str]]
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    storage.write(runs.join(output, name), text.getvalue().encode())


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.9g}" for value in values)
