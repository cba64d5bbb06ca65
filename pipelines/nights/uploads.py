"""Search uploads in a catalogue without adding them to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from apache_beam.utils.shared import Shared

from copydetect import runs, tables
from copydetect.catalog.catalog import Catalog
from copydetect.catalog.loading import picture_search_of
from copydetect.catalog.picture_search import PictureSearch
from copydetect.errors import ImageError, InputError, TooManyFailuresError, is_transient
from copydetect.inputs.listing import LISTING, ListedImage
from copydetect.inputs.sources import read_refs
from copydetect.parts import PartNames
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
        folder = runs.run_folder_of(digest)
        found = _asked(job, catalog, replace(place, folder=runs.join(output, folder)), listed)
        storage.delete(place.folder)
        counts = {name: place.rows(uris) for name, uris in found.items()}
        failed = counts["failures"]
        manifest = Manifest(
            command="match",
            folder=folder,
            settings={"catalog": job.catalog, **job.settings.for_manifest()},
            tables={name: [uri[len(output) + 1 :] for uri in uris] for name, uris in found.items()},
            counts=counts,
            seconds=dict(job.engine.seconds),
            inputs={
                "query": RoleInput(job.sources.named, len(listed), failed, job.sources.skipped)
            },
            accepted=failed <= job.options.max_failed_fraction * len(listed),
        )
        manifest.commit(storage, output, lease)
    result = Result(storage, output, manifest)
    if not manifest.accepted:
        raise TooManyFailuresError(f"{failed:,} of {len(listed):,} uploads failed", result)
    return result


def _asked(
    job: NightJob, catalog: Catalog, place: Workplace, listed: list[ListedImage]
) -> dict[str, PartNames]:
    """Search all parts that are not done yet; the files of each table."""
    starts = range(0, len(listed), _IMAGES_TOGETHER)
    parts = [(at, listed[start : start + _IMAGES_TOGETHER]) for at, start in enumerate(starts)]
    names = ("images", "failures", "matches")
    uris = {name: place.parts_of(name, len(parts)) for name in names}
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
    return uris


@dataclass(frozen=True, eq=False)
class _UploadSearch:
    """Searches the images of parts; each process loads the catalogue once."""

    source: Storage
    catalog: str
    generation: int
    storage: Storage
    folder: str
    _shared: Shared = field(default_factory=Shared, init=False)

    def ask(self, part: Part) -> int:
        """Write the files of a part."""
        number, listed = part
        tag = f"{self.catalog}:{self.generation}"
        search: PictureSearch = self._shared.acquire(self._load, tag=tag)
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
            uri = runs.join(self.folder, name, runs.part_name(number))
            tables.write_table(self.storage, uri, table)
        return number

    def _answers(
        self, search: PictureSearch, listed: list[ListedImage]
    ) -> Iterator[tuple[ListedImage, list[Match] | Failure]]:
        for image in listed:
            if image.error_type:
                yield image, image.failure("list", image.error_type, image.message, image.retryable)
        readable = {image.ref: image for image in listed if not image.error_type}
        for ref, content in read_refs(self.source, readable):
            image = readable[ref]
            content = image.checked(content)
            if isinstance(content, Failure):
                yield image, content
                continue
            try:
                found = search.ask(content, image.image_id)
                yield image, [replace(one, query_uri=image.uri) for one in found]
            except ImageError as error:
                yield image, image.failure("decode", "ImageError", str(error), is_transient(error))

    def _load(self) -> PictureSearch:
        return picture_search_of(Catalog(self.source, self.catalog, self.generation))


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
