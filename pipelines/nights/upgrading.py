"""Begin the upgrade of a catalogue to another descriptor model, and describe what was there."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.catalog.catalog import Catalog
from copydetect.catalog.files import CatalogFile, key_of
from copydetect.catalog.generations import (
    MANIFEST,
    FileEntry,
    Generation,
    Upgrade,
    generation_name,
    refuse_damaged,
)
from copydetect.catalog.grown_index import copy_partition, grown_index, index_files
from copydetect.catalog.loading import era_options
from copydetect.catalog.packing import PART_ROWS
from copydetect.catalog.pointer import Pointer, leased, load_generation, move_pointer
from copydetect.catalog.upgrades import (
    left_to_describe,
    made_uri,
    upgrade_folder,
    without_beside,
)
from copydetect.errors import CatalogBusyError, InputError, TooManyFailuresError, TransientError
from copydetect.index.shards import INDEX, load_index
from copydetect.inputs.listing import LISTING, ListedImage
from copydetect.options import EngineOptions, RunOptions
from copydetect.parts import part_count
from copydetect.settings import Settings
from copydetect.storage.remote import BeamStorage, RecordedStorage
from copydetect.transforms.refs_to_descriptions import DescriberSetup

from .. import stages
from ..engine import Engine, engine_of
from ..job import models_of
from ..outputs import alone_in, with_whole_paths
from ..stages import Listing, Workplace
from .job import era_of
from .models import setup_of
from .night import now_after
from .results import INDEXES

_OF_LAST_NIGHT = ("added", "removed", "changed", "failed", "verified")


def begin_upgrade(folder: str, options: RunOptions) -> Generation:
    """Have what is new described by another model, too, from the next night on; the generation that
    says so. The catalogue's own model ends an upgrade that was begun.

    options: with the model and its background. InputError where the catalogue has no descriptors;
    ModelError where the file is no model.
    """
    storage = RecordedStorage(folder)
    with leased(folder) as lease:
        pointer, before = Pointer.load(storage, folder), load_generation(storage, folder)
        if pointer is None or before is None:
            raise InputError(f"{folder} holds no catalogue: there is no catalog.json in it")
        refuse_damaged(storage, folder, before.entries())
        upgrade = _upgrade(folder, before, options)
        if upgrade == before.upgrade:
            return before
        generation = replace(
            before,
            number=pointer.highest + 1,
            parent=before.number,
            created=now_after(before),
            parts=without_beside(before.parts),
            counts=before.counts | dict.fromkeys(_OF_LAST_NIGHT, 0),
            seconds={},
            upgrade=upgrade,
        )
        generation = _with_index(storage, folder, before, generation)
        storage.write(runs.join(folder, generation.name, MANIFEST), generation.to_json())
        move_pointer(storage, folder, lease, pointer, generation)
    return generation


def _upgrade(folder: str, before: Generation, given: RunOptions) -> Upgrade | None:
    """To the model of the options; None where the catalogue has it already."""
    if "descriptor" not in before.era.models:
        raise InputError(f"the catalogue {folder} has no descriptors: there is no model to replace")
    given = with_whole_paths(given)
    options = era_options(before.era, given)
    options = options.changed(model=given.model, background=given.background)
    settings = Settings.of(options, "dedup", BeamStorage())
    setup = DescriberSetup.chosen(settings, options)
    models = models_of(setup)
    if models == before.era.models:
        return None
    if models.get("local") != before.era.models.get("local"):
        raise InputError(
            f"the catalogue {folder} has local features of another version: make a new catalogue"
        )
    embedder = setup.load().embedder
    assert embedder is not None
    era = era_of(before.era.number + 1, options, settings, models)
    compatible = embedder.card.compatible_with == before.era.models["descriptor"]
    return Upgrade(era, embedder.dimension, compatible)


def _with_index(
    storage: RecordedStorage, folder: str, before: Generation, generation: Generation
) -> Generation:
    """The generation with the indexes that the one before has."""
    entries = list[FileEntry]()
    for channel in INDEXES:
        source = runs.join(folder, before.name, "index", channel)
        if storage.exists(runs.join(source, INDEX)):
            target = runs.join(folder, generation_name(generation.number), "index", channel)
            copy_partition(storage, source, target)
            grown_index(storage, load_index(storage, source), None, target)
            entries += index_files(storage, folder, target)
    return replace(generation, tables={**generation.tables, "index": tuple(entries)})


def describe_rest(folder: str, options: RunOptions, engine_options: EngineOptions) -> int:
    """Give what was there descriptors of the model that the catalogue is on its way to; returns how
    many contents have none, for want of their files.

    Nights may come meanwhile. What was described before this was ended stays. TransientError where
    another process does the same.
    """
    catalog = Catalog(BeamStorage(), folder)
    upgrade = catalog.generation.upgrade
    if upgrade is None:
        return 0
    engine = engine_of(engine_options)
    rest = _Rest(folder, upgrade, options, engine)
    # Later, forks would hold the lock too, and for a second after this process is killed.
    engine.fork()
    with alone_in(upgrade_folder(folder)):
        left = left_to_describe(catalog.storage, folder, catalog.generation, catalog.standing)
        for start in range(0, len(left), PART_ROWS):
            rest.describe(left[start : start + PART_ROWS])
        engine.processes.stop()
        # Nights that came meanwhile have described what they brought.
        catalog = Catalog(BeamStorage(), folder)
        if catalog.generation.upgrade != upgrade:
            raise CatalogBusyError(f"another process has changed the catalogue {folder} meanwhile")
        return len(left_to_describe(catalog.storage, folder, catalog.generation, catalog.standing))


class _Rest:
    """Describes what was there."""

    def __init__(self, folder: str, upgrade: Upgrade, options: RunOptions, engine: Engine) -> None:
        self._folder, self._upgrade = folder, upgrade
        self._setup = replace(setup_of(upgrade, options), local=False)
        # Files that nights must not take for their own left-overs have a place of their own.
        self._storage = RecordedStorage(upgrade_folder(folder))
        self._engine = engine

    def describe(self, files: Sequence[CatalogFile]) -> None:
        """Write the descriptors of contents whose files can be read, in one file."""
        listed = [
            ListedImage(key_of(f.content), "image", f.uri, f.member, f.sha256, f.bytes)
            for f in files
        ]
        digest = hashlib.sha256(repr([self._upgrade.model, *listed]).encode()).hexdigest()[:16]
        place = Workplace(
            self._storage, runs.join(upgrade_folder(self._folder), f"work-{digest}"), self._engine
        )
        uri = runs.join(place.folder, "listing.parquet")
        tables.write_rows(self._storage, uri, listed, LISTING)
        listing = Listing("image", len(listed), digest, (uri,))
        describing = stages.describe(place, listing, self._setup)
        made = place.run(describing, part_count(len(listed)))
        schema = tables.descriptors(self._upgrade.dimension)
        rows = tables.read_tables(self._storage, made.descriptors, schema)
        first, last = files[0].content, files[-1].content
        if rows.num_rows:
            uri = made_uri(self._folder, self._upgrade, first, last, digest)
            tables.write_table(self._storage, uri, rows)
        self._storage.delete(place.folder)


def refuse_too_few(left: int, contents: int, allowed: float) -> None:
    """TooManyFailuresError where more contents than that share have no descriptor of the other
    model."""
    if left > allowed * contents:
        raise TooManyFailuresError(
            f"{left:,} of {contents:,} images could not be described by the new model: their files "
            "are gone or have changed. The catalogue stays with both models. Where the files are "
            "gone for good, --max_failed_fraction 1 goes on without them: local features find them"
        )


@contextlib.contextmanager
def forgetting(folder: str, names: Sequence[str]) -> Iterator[None]:
    """Remove what the describing of the rest holds of images, and keep it from working meanwhile;
    TransientError where it is at work. names: their image_ids."""
    place = upgrade_folder(folder)
    if not names or not BeamStorage().files_under(place):
        yield
        return
    files = Catalog(BeamStorage(), folder).ledger.files.values()
    gone = pa.array([key_of(file.content) for file in files if file.image_id in set(names)])
    storage = RecordedStorage(place)
    with alone_in(place):
        for file in storage.files_under(place):
            made = file.uri.endswith(".parquet") and "/made/" in file.uri
            ids = tables.read_table(storage, file.uri, ["image_id"])["image_id"] if made else gone
            if pc.any(pc.is_in(ids, value_set=gone)).as_py():
                storage.delete(file.uri)
        yield


def end_upgrade(folder: str) -> None:
    """Remove what was made for an upgrade, where no process is at work on it."""
    place = upgrade_folder(folder)
    storage = RecordedStorage(place)
    names = {file.uri[len(place) + 1 :].split("/")[0] for file in storage.files_under(place)}
    if not names:
        return
    try:
        with alone_in(place):
            for name in sorted(names):
                storage.delete(runs.join(place, name))
    except TransientError:
        pass
