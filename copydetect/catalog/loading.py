"""Load the search of single pictures: the options of a catalogue, and the models that described
it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from copydetect.catalog.catalog import Catalog
from copydetect.catalog.generations import Era
from copydetect.catalog.picture_search import PictureSearch
from copydetect.description.describing import Describer
from copydetect.description.descriptors import Embedder, load_model
from copydetect.description.keypoints import load_quantiser
from copydetect.description.model_files import local_file
from copydetect.errors import ModelError
from copydetect.options import RunOptions
from copydetect.settings import Settings


def era_options(era: Era, options: RunOptions | None = None) -> RunOptions:
    """The options of an era; options: those of the night, for what is not frozen."""
    kept = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in era.options.items()
    }
    return (options or RunOptions()).changed(**kept)


def picture_search_of(catalog: Catalog) -> PictureSearch:
    """Load the search of pictures; ModelError where the installed models are not those that
    described the catalogue."""
    era, upgrade = catalog.generation.era, catalog.generation.upgrade
    if upgrade is not None and upgrade.compatible:
        era = upgrade.era
    settings = Settings.of(era_options(era), "match", catalog.storage)
    embedder, background = None, np.empty((0, 0), np.float32)
    if "descriptor" in settings.channels:
        embedder = _embedder(catalog, era, settings)
    if embedder is not None:
        background = embedder.background()
    quantiser = load_quantiser() if "local" in settings.channels else None
    if quantiser is not None:
        _refuse_other_model(catalog, era, "local", "the bundled one", quantiser.identity)
    describer = Describer(settings.describing, embedder, background, quantiser)
    return PictureSearch(catalog, settings, describer)


def _embedder(catalog: Catalog, era: Era, settings: Settings) -> Embedder | None:
    """The model of an era. In an upgrade the old one may be gone: local features search alone."""
    try:
        embedder = load_model(settings.model, "cpu")
        if settings.background:
            embedder = replace(embedder, background_path=local_file(settings.background))
        _refuse_other_model(catalog, era, "descriptor", settings.model, embedder.identity)
    except ModelError:
        if catalog.generation.upgrade is None or era is not catalog.generation.era:
            raise
        return None
    return embedder


def _refuse_other_model(catalog: Catalog, era: Era, channel: str, name: str, identity: str) -> None:
    made_with = era.models.get(channel)
    if identity != made_with:
        raise ModelError(
            f"the catalogue {catalog.folder} was made with {channel} model {made_with!r}; "
            f"{name} is {identity!r}"
        )
