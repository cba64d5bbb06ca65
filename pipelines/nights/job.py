"""The job of a night: its catalogue, its input and its options, all checked."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import pyarrow as pa

from copydetect.catalog.decisions import DECISIONS
from copydetect.catalog.generations import Era, Generation, Upgrade
from copydetect.catalog.loading import era_options
from copydetect.catalog.pointer import load_generation, refuse_unswappable
from copydetect.errors import InputError, OptionError
from copydetect.inputs.finding import find_sources
from copydetect.inputs.input_specs import INPUTS, Inputs, specs_of
from copydetect.inputs.sources import Sources
from copydetect.options import EngineOptions, RunOptions
from copydetect.settings import Settings
from copydetect.storage.remote import BeamStorage, RecordedStorage

from ..engine import Engine, engine_of
from ..outputs import (
    check_writable,
    output_folder,
    refuse_foreign,
    refuse_input_in_output,
    with_whole_paths,
)
from .models import NightModels

_OF_THE_NIGHT = (
    "exclude",
    "max_failed_fraction",
    "report",
    "check",
    "overwrite",
    "device",
    "trust_model",
)
"""Options that may differ from night to night."""
_OF_THE_VERSION = {
    "calibration": "calibration",
    "min_confidence": "calibration",
    "verify_score": "verify_score",
}
"""Settings that only decide what counts as a copy, and the option without which they are those of
the version that is installed."""


@dataclass(frozen=True)
class NightRequest:
    """What a night is asked to do besides adding images.

    remove: image_ids that go; forget: image_ids that go with all that is known of them, from every
    file; decisions: rows of `DECISIONS`; upkeep: "compact" puts small parts together and writes the
    indexes anew, "rebuild" trains their partitions anew, too, and begins an era.
    """

    remove: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    decisions: pa.Table = field(default_factory=DECISIONS.empty_table)
    upkeep: Literal["", "compact", "rebuild"] = ""

    @property
    def whole(self) -> bool:
        """Whether everything is searched anew, in new indexes."""
        return bool(self.upkeep or self.forget)


@dataclass(frozen=True)
class NightJob:
    """A night whose arguments are checked. catalog: its folder."""

    catalog: str
    sources: Sources | None
    request: NightRequest
    options: RunOptions
    settings: Settings
    models: NightModels
    engine: Engine
    storage: RecordedStorage

    def era(self, number: int) -> Era:
        """What is frozen with the options of this night."""
        return era_of(number, self.options, self.settings, self.models.identities)


def era_of(number: int, options: RunOptions, settings: Settings, models: dict[str, str]) -> Era:
    """The era of these options; settings: the same, resolved."""
    resolved = json.loads(json.dumps(settings.for_manifest()))
    return Era(number, frozen_options(options), resolved, models)


def frozen_options(options: RunOptions) -> dict[str, Any]:
    """The options that stay what they are for all nights of an era, as JSON values."""
    names = [one.name for one in fields(options) if one.name not in _OF_THE_NIGHT]
    values: dict[str, Any] = json.loads(json.dumps({n: getattr(options, n) for n in names}))
    return values


def options_in_era(
    options: RunOptions,
    era: Era,
    catalog: str,
    named: Collection[str] = (),
    upgrade: Upgrade | None = None,
) -> RunOptions:
    """The options of a night in a catalogue that has its own; OptionError where they differ.

    An option that has its default, and is not among those that were `named`, is that of the
    catalogue. upgrade: that was begun; its options are right, too.
    """
    default = frozen_options(RunOptions())
    for name, value in frozen_options(options).items():
        meant = name in named or value != default[name]
        also = upgrade.era.options.get(name) if upgrade else None
        if meant and value not in (era.options.get(name, value), also):
            instead = "make a new catalogue"
            if name == "model":
                instead = f"begin with `copydetect catalog upgrade {catalog} --model {value}`"
            raise OptionError(
                f"the catalogue {catalog} was made with {name}={era.options[name]!r}, not "
                f"{value!r}: leave the option out, or {instead}"
            )
    return era_options(era, options)


def checked_night(
    catalog: str,
    given: Inputs | None,
    request: NightRequest,
    options: RunOptions,
    engine_options: EngineOptions,
    named: Collection[str] = (),
) -> NightJob:
    """Check everything that can be checked before work begins.

    named: options that were given for this night, with their defaults perhaps. InputError,
    OptionError or ModelError name what is wrong.
    """
    catalog = output_folder(catalog)
    refuse_unswappable(catalog)
    options = with_whole_paths(options)
    # What it says of buckets counts from here on.
    engine = engine_of(engine_options)
    storage = RecordedStorage(catalog)
    check_writable(catalog)
    generation = load_generation(storage, catalog)
    if generation is None:
        refuse_foreign(catalog)
        if given is None:
            raise InputError(f"{catalog} holds no catalogue: give --input to begin one")
    else:
        options = _options_tonight(options, generation, catalog, request, named)
    settings = Settings.of(options, "dedup", BeamStorage())
    sources = None
    if given is not None:
        specs = _checked_specs(storage, catalog, given, generation is None)
        if specs:
            sources = find_sources(storage, specs, options.exclude)
            refuse_input_in_output(sources, catalog)
    models = NightModels.of(settings, options, generation, request.upkeep == "rebuild")
    job = NightJob(catalog, sources, request, options, settings, models, engine, storage)
    if generation is not None:
        _refuse_other_era(job, generation)
    engine.fork()
    return job


def _options_tonight(
    options: RunOptions,
    generation: Generation,
    catalog: str,
    request: NightRequest,
    named: Collection[str],
) -> RunOptions:
    """The options of the era that a night is in, or that it begins."""
    upgrade = generation.upgrade
    if upgrade is not None and request.upkeep == "rebuild":
        return era_options(upgrade.era, options)
    return options_in_era(options, generation.era, catalog, named, upgrade)


def _checked_specs(
    storage: RecordedStorage, catalog: str, given: Inputs, is_first: bool
) -> tuple[str, ...]:
    """The inputs, without empty folders but for the first night: where pictures come in there may
    be none tonight."""
    specs = specs_of(storage, catalog, "image", given)
    folder = _real(catalog)
    for spec in specs:
        real = _real(spec)
        if real.startswith(folder) and f"/{INPUTS}/" not in real:
            raise InputError(f"the input {spec} is in the catalogue {catalog} itself")
    return tuple(spec for spec in specs if is_first or not _is_empty_folder(storage, spec))


def _real(uri: str) -> str:
    """Where a folder is, with a slash behind."""
    return (uri if "://" in uri else os.path.realpath(uri)).rstrip("/") + "/"


def _is_empty_folder(storage: RecordedStorage, spec: str) -> bool:
    return "://" not in spec and os.path.isdir(spec) and not storage.files_under(spec)


def _refuse_other_era(job: NightJob, generation: Generation) -> None:
    """InputError where what is installed would not describe and search as the catalogue's era does.

    A new version may decide in another way: then old verdicts stay beside new ones, which is said.
    """
    upgrade = generation.upgrade if job.request.upkeep == "rebuild" else None
    era = upgrade.era if upgrade else generation.era
    decides = decides_otherwise(job, era)
    now = job.era(era.number)
    for name, before, after in (
        *((f"model of {key}", value, now.models.get(key)) for key, value in era.models.items()),
        *((key, value, now.settings.get(key)) for key, value in era.settings.items()),
    ):
        if before != after and name not in decides:
            raise InputError(
                f"the catalogue {job.catalog} was made with {name} {before!r}, but here it is "
                f"{after!r}: use what it was made with, or make a new catalogue. `copydetect "
                f"catalog upgrade {job.catalog}` goes over to another descriptor model"
            )
    if decides and job.request.upkeep != "rebuild":
        job.engine.tell(
            f"this version has another {decides[0]} than the one that began the catalogue's era: "
            "it is used for new pairs, and pairs that have a verdict keep it. `copydetect catalog "
            f"rebuild {job.catalog}` verifies all pairs again"
        )


def decides_otherwise(job: NightJob, era: Era) -> list[str]:
    """The settings by which the installed version decides otherwise than the era, where no option
    of the catalogue says how."""
    now = job.era(era.number).settings
    return [
        name
        for name, option in _OF_THE_VERSION.items()
        if getattr(job.options, option) in (None, "") and era.settings.get(name) != now[name]
    ]
