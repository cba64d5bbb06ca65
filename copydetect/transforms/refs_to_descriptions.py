"""Listing → images, descriptors, keypoints and failures: one part file of each for each part."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from copydetect import tables
from copydetect.description.describing import Describer, DescriberOptions, describe_part
from copydetect.description.descriptors import load_model
from copydetect.description.keypoints import load_quantiser
from copydetect.description.model_files import local_file
from copydetect.inputs.listed_parts import ListedRows, unpacked
from copydetect.inputs.listing import ListedImage, byte_identical
from copydetect.options import Channel, RunOptions
from copydetect.parts import part_uri
from copydetect.settings import Settings
from copydetect.storage.files import Storage
from copydetect.transforms.refs_to_parts import RefsToParts
from copydetect.transforms.run_in_processes import Count, RunInProcesses
from copydetect.types import Role
from copydetect.workers.processes import Processes, WorkerError

_ROWS_TOGETHER = {"keypoints": 128}
"""Verification reads the features of single images."""

PartWork = tuple[int, list[ListedRows], frozenset[str]]
"""A part's number, its images, and the SHA-256 of files that crash the process decoding them."""

Described = tuple[int, int, int]
"""A part's number, how many images it has, and how many of them failed."""


@dataclass(frozen=True)
class DescriberSetup:
    """What a worker needs to make a `Describer`: names and paths instead of loaded models.

    model: None makes no descriptors; background: path of a background set, "" for the model's own;
    local: whether local features are detected; trust_model: whether the model may be a program.
    """

    options: DescriberOptions
    model: str | None
    background: str
    device: str
    local: bool
    trust_model: bool = False

    @classmethod
    def chosen(cls, settings: Settings, options: RunOptions) -> DescriberSetup:
        """What the settings of a run ask for; options: the same, with the device."""
        return cls(
            settings.describing,
            settings.model if "descriptor" in settings.channels else None,
            settings.background,
            options.device,
            "local" in settings.channels,
            options.trust_model,
        )

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that a part has a file of; `images` is written last, and named first."""
        descriptors = ("descriptors",) if self.model else ()
        return ("images", "failures", "keypoints", *descriptors)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels that candidates can be found by."""
        chosen: dict[Channel, bool] = {"descriptor": bool(self.model), "local": self.local}
        return tuple(channel for channel, wanted in chosen.items() if wanted)

    def of(self, role: Role) -> DescriberSetup:
        """The setup for images of this role: references have fewer views than queries."""
        if role != "reference":
            return self
        views = self.options.views.of_references()
        return replace(self, options=replace(self.options, views=views))

    def load(self) -> Describer:
        """Load everything; ModelError or OptionError where it does not fit."""
        embedder = None
        if self.model:
            embedder = load_model(self.model, self.device, trust_model=self.trust_model)
        background = np.empty((0, 0), np.float32)
        if embedder is not None and self.background:
            embedder = replace(embedder, background_path=local_file(self.background))
        if embedder is not None:
            background = embedder.background()
        quantiser = load_quantiser() if self.local else None
        return Describer(self.options, embedder, background, quantiser)


@dataclass(eq=False, repr=False)
class RefsToDescriptions(beam.PTransform[Any, Any]):
    """URIs of listing files → part numbers, once the files of the part are written. None is passed
    on.

    parts: how many there are; wanted: those still to be described.
    """

    storage: Storage
    setup: DescriberSetup
    role: Role
    folder: str
    parts: int
    wanted: Collection[int]
    processes: Processes = field(default_factory=Processes)

    def expand(self, uris: PCollection[str]) -> PCollection[int]:
        describer = _PartDescriber(self.storage, self.setup, self.role, self.folder)
        describe = RunInProcesses(describer.describe, self.processes, describer.mend)
        parts: PCollection[int] = (
            uris
            | "parts" >> RefsToParts(self.storage, self.parts, self.wanted)
            | "no deadly" >> beam.Map(_with_no_deadly)
            | "describe" >> beam.ParDo(describe)
            | "count" >> beam.ParDo(Count("copydetect", "images_described", "images_failed"))
        )
        return parts


def _with_no_deadly(part: tuple[int, list[ListedRows]] | None) -> PartWork | None:
    return None if part is None else (*part, frozenset())


def can_be_described(storage: Storage, setup: DescriberSetup, image: ListedImage) -> bool:
    """Whether an image can be read and described now, in a process of its own that it may end."""
    describer = _PartDescriber(storage, setup.of(image.role), image.role, "")
    try:
        return bool(Processes().last_try(describer.can_describe, image))
    except WorkerError:
        return False


@dataclass(frozen=True, eq=False)
class _PartDescriber:
    """Describes parts; each process loads the models once."""

    storage: Storage
    setup: DescriberSetup
    role: Role
    folder: str
    _shared: Shared = field(default_factory=Shared, init=False)

    def describe(self, work: PartWork) -> Described:
        """Write the files of a part."""
        part, rows, deadly = work
        described = describe_part(self.storage, unpacked(rows), self._load(), deadly)
        # `images` is written last: where it is, the part is complete.
        for name in ("descriptors", "keypoints", "failures", "images"):
            table = getattr(described, name)
            if table is not None:
                uri = part_uri(self.folder, name, self.role, part)
                tables.write_table(self.storage, uri, table, _ROWS_TOGETHER.get(name))
        return part, described.images.num_rows, described.failures.num_rows

    def can_describe(self, image: ListedImage) -> bool:
        """Whether nothing fails; writes nothing."""
        return not describe_part(self.storage, [image], self._load()).failures.num_rows

    def mend(self, work: PartWork) -> PartWork:
        """The part with the SHA-256 of those files that crash a process even alone."""
        part, rows, _ = work
        families = byte_identical(unpacked(rows))
        deadly = (twins[0].sha256 for twins in families if Processes().ends(self._try, twins))
        return part, rows, frozenset(deadly)

    def _try(self, twins: list[ListedImage]) -> None:
        describe_part(self.storage, twins, self._load())

    def _load(self) -> Describer:
        describer: Describer = self._shared.acquire(self.setup.load)
        return describer
