"""A catalogue for readers: the tables of its last generation, with image_ids and URIs."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from copydetect import tables
from copydetect.catalog.decisions import DECISIONS, decided, undecided
from copydetect.catalog.files import FILES, CatalogFile, Ledger, StandingFiles
from copydetect.catalog.generations import (
    Generation,
    damaged_files,
    read_entry,
    read_part_table,
)
from copydetect.catalog.pointer import load_generation
from copydetect.catalog.readable import images_of, matches_of
from copydetect.catalog.upgrades import left_to_describe
from copydetect.catalog.verdicts import VERDICTS, as_matches, newest
from copydetect.errors import InputError, RunError
from copydetect.inputs.image_like import ImageLike, file_bytes
from copydetect.storage.files import Storage
from copydetect.types import Match

if TYPE_CHECKING:
    from copydetect.catalog.picture_search import PictureSearch


class Catalog:
    """One generation of a catalogue; later nights do not change it.

    folder: of the catalogue; generation: what it holds. InputError where there is no catalogue,
    RunError where it is damaged.
    """

    def __init__(self, storage: Storage, folder: str, number: int = 0) -> None:
        """number: of an earlier generation that is still there; 0 for the last one."""
        generation = load_generation(storage, folder, number)
        if generation is None:
            raise InputError(f"{folder} holds no catalogue: there is no catalog.json in it")
        self.storage = storage
        self.folder = folder
        self.generation: Generation = generation

    @property
    def images(self) -> pa.Table:
        """One row per image that is there, as in the table `images` of a run."""
        return images_of(self.ledger.living(), self._part_table("images", tables.IMAGES))

    @property
    def matches(self) -> pa.Table:
        """One row per pair that was verified and that the last night's search proposes, or whose
        member was compared with the kept image; of images that are there."""
        standing, decisions = self.standing, self.decisions
        matches = decided(self._proposed("matches"), decisions, standing)
        compared = as_matches(self._table("comparisons"))
        matches = newest([matches, undecided(compared, decisions, standing)], tables.MATCHES)
        return matches_of(matches, standing)

    def _proposed(self, name: str) -> pa.Table:
        return as_matches(self._part_table(name, VERDICTS))

    @property
    def decisions(self) -> pa.Table:
        """What people have decided on pairs, by the contents' SHA-256."""
        entries = self.generation.tables.get("decisions", ())
        return self._table("decisions") if entries else DECISIONS.empty_table()

    @property
    def groups(self) -> pa.Table:
        """One row per image that belongs to a group of copies; ids of groups last."""
        return self._table("groups").select(tables.GROUPS.names)

    @property
    def events(self) -> pa.Table:
        """What happened in all nights, one row each, in order; see `catalog.lasting_groups`."""
        entries = self.generation.tables["events"]
        return pa.concat_tables([read_entry(self.storage, self.folder, one) for one in entries])

    @property
    def failures(self) -> pa.Table:
        """What the last night could not use."""
        return self._table("night-failures")

    def search(self, image: ImageLike, name: str = "1") -> list[Match]:
        """The pairs of one picture with the images that it may be a copy of, the surest first.

        image: as in `copydetect.compare`; name: what it is called in the matches. All pairs that
        were looked at are there, copies or not. The first picture waits for the models to load.
        ImageError where it is no image; InputError where a path cannot be read; RunError where the
        catalogue is damaged.
        """
        content = file_bytes(image)
        try:
            return self._picture_search.ask(content, name)
        except InputError as error:
            raise RunError(f"the catalogue {self.folder} is damaged: {error}") from error

    @cached_property
    def _picture_search(self) -> PictureSearch:
        from copydetect.catalog.loading import picture_search_of

        return picture_search_of(self)

    def verify(self) -> list[str]:
        """The damage of the catalogue, one sentence for each file; empty where there is none. Every
        file must be as it was written. Where all are, earlier generations must hold nothing of what
        was forgotten."""
        # Tables name what was forgotten; they are read only where all files are whole.
        found = damaged_files(self.storage, self.folder, self.generation.entries())
        return found or self._not_forgotten()

    def _not_forgotten(self) -> list[str]:
        """Earlier generations that may hold what was to be forgotten."""
        gone = [f.removed for f in self.ledger.files.values() if f.status == "forgotten"]
        kept = {entry.path for entry in self.generation.entries()}
        left = set()
        for file in self.storage.files_under(self.folder) if gone else ():
            path = file.uri[len(self.folder) + 1 :]
            name = path.split("/")[0]
            if path not in kept and name.startswith("gen-") and int(name[4:]) < max(gone):
                left.add(name)
        return [f"{name} may hold what is to be forgotten: prune it" for name in sorted(left)]

    def summary(self) -> dict[str, Any]:
        """The catalogue in figures, as JSON values."""
        generation = self.generation
        size = sum(entry.size_bytes for entry in set(generation.entries()))
        images = generation.counts.get("images", 0)
        return {
            "catalog": self.folder,
            "generation": generation.number,
            "created": generation.created,
            "era": generation.era.number,
            "models": generation.era.models,
            **self._upgrade_in_figures(),
            **{name: generation.counts.get(name, 0) for name in ("images", "groups", "copies")},
            "numbers": generation.numbers,
            "parts": len(generation.parts),
            "bytes": size,
            "bytes_per_image": round(size / images) if images else 0,
        }

    def _upgrade_in_figures(self) -> dict[str, Any]:
        """How far the way to another descriptor model is, where one was begun."""
        upgrade = self.generation.upgrade
        if upgrade is None:
            return {}
        left = left_to_describe(self.storage, self.folder, self.generation, self.standing)
        return {
            "upgrade_to": upgrade.model,
            "compatible": upgrade.compatible,
            "left_to_describe": len(left),
        }

    @cached_property
    def ledger(self) -> Ledger:
        """All files that it knows."""
        return Ledger.of(self._part_table("files", FILES))

    @cached_property
    def standing_files(self) -> StandingFiles:
        """The same as `standing`, for who asks for a few of them."""
        return StandingFiles(partial(self._part_table, "files", FILES))

    @cached_property
    def standing(self) -> dict[int, CatalogFile]:
        """The file that stands for each content."""
        return self.ledger.names()

    def _part_table(
        self, name: str, schema: pa.Schema, columns: list[str] | None = None
    ) -> pa.Table:
        parts = self.generation.parts
        return read_part_table(self.storage, self.folder, parts, name, schema, columns)

    def _table(self, name: str) -> pa.Table:
        (entry,) = self.generation.tables[name]
        return read_entry(self.storage, self.folder, entry)

    def __repr__(self) -> str:
        return f"<Catalog {self.folder!r}, generation {self.generation.number}>"
