"""`copydetect edits`: labelled edited copies of a collection.

OUT/images/ holds the copies; OUT/ground_truth.csv says of which image each is a copy, OUT/edits.csv
what was done to it and where the image went. They are written last, when every copy is there.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import sys
from collections.abc import Iterable

import apache_beam as beam
import pyarrow as pa

from copydetect import runs, tables
from copydetect.edits import MIXES
from copydetect.edits.copies import COPIES, CopyOptions, choose_others
from copydetect.errors import InputError, OptionError
from copydetect.inputs.sources import find_sources
from copydetect.parts import part_count
from copydetect.storage import Storage
from copydetect.transforms.images_to_edits import EditsJob, ImagesToEdits
from copydetect.transforms.storage import BeamStorage
from pipelines.cli import end_with
from pipelines.engine import (
    EXIT_DONE,
    EXIT_TOO_MANY_FAILURES,
    Engine,
    engine_of,
    exit_code_of,
    parser_of,
)
from pipelines.stages import Listing, Workplace, list_images

_RESULTS = ("ground_truth.csv", "edits.csv", "failures.csv")
_LISTING = "run-listing"


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code: 0 done, 1 failed, 2 bad arguments, 3 failures."""
    try:
        arguments, beam_flags = _parser().parse_known_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    return exit_code_of(lambda: _edits(arguments, beam_flags), arguments.verbose)


def _edits(arguments: argparse.Namespace, beam_flags: list[str]) -> int:
    engine = engine_of(beam_flags, arguments.quiet, arguments.verbose)
    options = CopyOptions(arguments.copies, arguments.seed, arguments.mix, arguments.max_side)
    if not 0 <= arguments.max_failed_fraction <= 1:
        raise OptionError(
            f"--max_failed_fraction is {arguments.max_failed_fraction}; it must be in [0, 1]"
        )
    output: str = arguments.output.rstrip("/") or "/"
    storage = BeamStorage(row_copies=runs.join(output, _LISTING, "rows"))
    sources = find_sources(storage, arguments.photos)
    others = choose_others(storage, arguments.others) if arguments.others else []
    _refuse_foreign(storage, output)
    listing_place = Workplace(engine, storage, runs.join(output, _LISTING))
    storage.delete(listing_place.folder)
    listing = list_images(listing_place, sources, "image")
    settings = {**dataclasses.asdict(options), "others": [ref.uri for ref in others]}
    folder = runs.join(output, runs.run_folder_name(settings, listing.digest))
    job = EditsJob(storage, options, runs.join(output, "images"), folder, tuple(others))
    _remove_earlier(storage, output, folder)
    parts = _make(engine, job, listing)
    copies = _part_tables(job, "copies", parts, COPIES)
    failures = _part_tables(job, "failures", parts, tables.FAILURES)
    _write_results(storage, output, copies, failures)
    storage.delete(listing_place.folder)
    storage.delete(folder)
    return _report(arguments, output, listing, copies, failures)


def _make(engine: Engine, job: EditsJob, listing: Listing) -> int:
    """Edit what is not edited yet; returns how many parts there are."""
    parts = part_count(listing.images)
    uris = [job.part_uri("copies", part) for part in range(parts)]
    wanted = [part for part, uri in enumerate(uris) if not job.storage.exists(uri)]
    transform = ImagesToEdits(job, parts, wanted)
    engine.run(
        "edit images",
        lambda pipeline: pipeline | beam.Create(listing.uris) | transform,
        total=listing.images,
        done=lambda: sum(map(job.storage.exists, uris)) * listing.images // parts,
    )
    return parts


def _part_tables(job: EditsJob, table: str, parts: int, schema: pa.Schema) -> pa.Table:
    uris = [job.part_uri(table, part) for part in range(parts)]
    return tables.read_tables(job.storage, uris, schema)


def _refuse_foreign(storage: Storage, output: str) -> None:
    """InputError where the folder holds files that this command did not write."""
    files = [file.uri[len(output) + 1 :] for file in storage.files_under(output)]
    ours = [name for name in files if name == "edits.csv" or name.startswith("run-")]
    if files and not ours:
        raise InputError(f"{output} holds other files ({files[0]}); give a new or an empty folder")


def _remove_earlier(storage: Storage, output: str, folder: str) -> None:
    """Remove what another run left: its results first, so that no reader sees half of each."""
    for name in _RESULTS:
        storage.delete(runs.join(output, name))
    if not storage.exists(folder):
        storage.delete(runs.join(output, "images"))
    names = {file.uri[len(output) + 1 :].split("/")[0] for file in storage.files_under(output)}
    for name in sorted(names - {"images", _LISTING}):
        if name.startswith("run-") and runs.join(output, name) != folder:
            storage.delete(runs.join(output, name))


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


def _report(
    arguments: argparse.Namespace,
    output: str,
    listing: Listing,
    copies: pa.Table,
    failures: pa.Table,
) -> int:
    if not arguments.quiet:
        made = len(copies["query_id"].unique())
        print(f"{made} copies of {listing.images} images in {runs.join(output, 'images')}")
        print(f"what is a copy of what: {runs.join(output, 'ground_truth.csv')}")
        if failures.num_rows:
            print(f"{failures.num_rows} images failed: {runs.join(output, 'failures.csv')}")
    if failures.num_rows > arguments.max_failed_fraction * listing.images:
        print(
            f"copydetect: {failures.num_rows} of {listing.images} images failed, "
            f"more than --max_failed_fraction allows",
            file=sys.stderr,
        )
        return EXIT_TOO_MANY_FAILURES
    return EXIT_DONE


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("edits", "Make labelled edited copies of a collection.")
    parser.add_argument("photos", metavar="PHOTOS", help="folder, glob, manifest, .tar or .parquet")
    parser.add_argument("--output", required=True, metavar="OUT", help="folder of the copies")
    parser.add_argument("--copies", type=int, default=1, help="copies of each image (1)")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other edits (0)")
    parser.add_argument("--mix", choices=MIXES, default="default", help="which edits, how strong")
    parser.add_argument(
        "--others",
        default="",
        help="pictures to paste with, none of PHOTOS: what shows one would be a copy of it as well "
        "(made-up patterns)",
    )
    parser.add_argument("--max_side", type=int, default=1024, help="larger ones are reduced (1024)")
    parser.add_argument("--max_failed_fraction", type=float, default=0.1, help="else exit 3 (0.1)")
    return parser


if __name__ == "__main__":
    end_with(main)
