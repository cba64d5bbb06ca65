"""Search uploads in a catalogue without adding them to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
from apache_beam.utils.shared import Shared

from copydetect import runs, tables
from copydetect.catalog.catalog import Catalog
from copydetect.catalog.loading import picture_search_of
from copydetect.catalog.picture_search import PictureSearch
from copydetect.errors import ImageError, InputError, TooManyFailuresError, is_transient
from copydetect.inputs.listing import LISTING, ListedImage
from copydetect.inputs.sources import read_refs
from copydetect.results import Result
from copydetect.runs import Manifest, RoleInput
from copydetect.storage.files import Storage
from copydetect.storage.remote import RecordedStorage
from copydetect.transforms.run_in_processes import OnWorkers
from copydetect.transforms.waiting import Elements
from copydetect.types import Failure, ImageRow, Match

from .. import stages
from ..chains import Stage
from ..outputs import alone_in
from ..stages import Workplace
from .job import NightJob

_IMAGES_TOGETHER = 16
_PARTS_WORTH_PROCESSES = 4

Part = tuple[int, list[ListedImage]]


def ask_about(job: NightJob, output: str) -> Result:
    """Search uploads in a catalogue; OUT gets the tables of `match`, with the uploads as the
    queries.

    TooManyFailuresError, with the tables written, where too many of them could not be used.
    """
    catalog = Catalog(job.storage, job.catalog)
    if job.sources is None:
        raise InputError("there is nothing to ask about: give --input")
    storage = RecordedStorage(output)
    with alone_in(output) as lease:
        place = Workplace(storage, runs.join(output, "listing"), job.engine)
        listing = stages.list_images(place, job.sources, "query")
        listed = [
            ListedImage(**row)
            for row in tables.read_tables(storage, listing.uris, LISTING).to_pylist()
        ]
        digest = f"{listing.digest} {catalog.generation.number} {job.catalog}"
        folder = f"run-{hashlib.sha256(digest.encode()).hexdigest()[:16]}"
        manifest = _asked(
            job, catalog, Workplace(storage, runs.join(output, folder), job.engine), listed
        )
        storage.delete(place.folder)
        failed = manifest.counts["failures"]
        inputs = RoleInput(job.sources.named, len(listed), failed, job.sources.skipped)
        manifest = _named(manifest, output, folder, inputs, job)
        manifest.commit(storage, output, lease)
    result = Result(storage, output, manifest)
    if not manifest.accepted:
        raise TooManyFailuresError(f"{failed:,} of {len(listed):,} uploads failed", result)
    return result


def _asked(
    job: NightJob, catalog: Catalog, place: Workplace, listed: list[ListedImage]
) -> Manifest:
    """Search all parts that are not done yet; the manifest names files of the whole path."""
    starts = range(0, len(listed), _IMAGES_TOGETHER)
    parts = [(at, listed[start : start + _IMAGES_TOGETHER]) for at, start in enumerate(starts)]
    names = ("images", "failures", "matches")
    uris = {name: [place.part_uri(name, at) for at, _ in parts] for name in names}
    wanted = place.unfinished(list(zip(*reversed(uris.values()), strict=True)))
    todo = [part for part in parts if part[0] in wanted]
    search = _UploadSearch(
        job.storage, job.catalog, catalog.generation.number, place.storage, place.folder
    )
    work = OnWorkers(search.ask, place.processes(len(todo), _PARTS_WORTH_PROCESSES))
    asking = Stage(
        "ask",
        lambda start: start | "parts" >> Elements(todo) | work,
        None,
        place.progress("ask", uris["matches"], len(listed)),
    )
    place.run(asking, len(todo))
    counts = {name: place.rows(files) for name, files in uris.items()}
    return Manifest("match", "", {}, uris, counts, dict(job.engine.seconds))


def _named(
    manifest: Manifest, output: str, folder: str, inputs: RoleInput, job: NightJob
) -> Manifest:
    relative = {
        name: [uri[len(output) + 1 :] for uri in uris] for name, uris in manifest.tables.items()
    }
    allowed = job.options.max_failed_fraction * inputs.images
    return Manifest(
        command="match",
        folder=folder,
        settings={"catalog": job.catalog, **job.settings.for_manifest()},
        tables=relative,
        counts=manifest.counts,
        seconds=manifest.seconds,
        inputs={"query": inputs},
        accepted=inputs.failed <= allowed,
    )


class _UploadSearch:
    """Searches the images of parts; each process loads the catalogue once."""

    def __init__(
        self, source: Storage, catalog: str, generation: int, storage: Storage, folder: str
    ) -> None:
        self._source = source
        self._catalog = catalog
        self._generation = generation
        self._storage = storage
        self._folder = folder
        self._shared = Shared()

    def ask(self, part: Part) -> int:
        """Write the files of a part."""
        number, listed = part
        search: PictureSearch = self._shared.acquire(
            self._load, tag=f"{self._catalog}:{self._generation}"
        )
        rows: list[ImageRow] = []
        failures: list[Failure] = []
        matches: list[Match] = []
        for image, found in self._answers(search, listed):
            rows.append(_row(image, isinstance(found, Failure)))
            if isinstance(found, Failure):
                failures.append(found)
            else:
                matches += found
        for name, table in (
            ("images", tables.rows_to_table(rows, tables.IMAGES)),
            ("failures", tables.rows_to_table(failures, tables.FAILURES)),
            ("matches", tables.rows_to_table(matches, tables.MATCHES)),
        ):
            self._write(name, number, table)
        return number

    def _answers(
        self, search: PictureSearch, listed: list[ListedImage]
    ) -> Iterator[tuple[ListedImage, list[Match] | Failure]]:
        for image in listed:
            if image.error_type:
                yield image, image.failure("list", image.error_type, image.message, image.retryable)
        readable = {image.ref: image for image in listed if not image.error_type}
        for ref, content in read_refs(self._source, readable):
            image = readable[ref]
            content = image.checked(content)
            if isinstance(content, Failure):
                yield image, content
                continue
            try:
                yield image, [_placed(one, image) for one in search.ask(content, image.image_id)]
            except ImageError as error:
                yield image, image.failure("decode", "ImageError", str(error), is_transient(error))

    def _write(self, name: str, part: int, table: pa.Table) -> None:
        uri = runs.join(self._folder, name, runs.part_name(part))
        tables.write_table(self._storage, uri, table)

    def _load(self) -> PictureSearch:
        return picture_search_of(Catalog(self._source, self._catalog, self._generation))


def _row(image: ListedImage, failed: bool) -> ImageRow:
    return ImageRow(
        image_id=image.image_id,
        role="query",
        uri=image.uri,
        member=image.member,
        sha256=None if image.error_type else image.sha256,
        format=None,
        width=None,
        height=None,
        bytes=image.bytes,
        captured_at=None,
        duplicate_of=None,
        status="failed" if failed else "ok",
    )


def _placed(match: Match, image: ListedImage) -> Match:
    return replace(match, query_uri=image.uri)
