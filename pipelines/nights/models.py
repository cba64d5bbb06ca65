"""The models that describe what is new: the catalogue's, and another one during an upgrade."""

from __future__ import annotations

from dataclasses import dataclass, replace

from copydetect.catalog.generations import Generation, Upgrade
from copydetect.catalog.loading import era_options
from copydetect.errors import InputError, ModelError
from copydetect.options import RunOptions
from copydetect.settings import Settings
from copydetect.storage.remote import BeamStorage
from copydetect.transforms.refs_to_descriptions import DescriberSetup

from ..job import models_of


@dataclass(frozen=True)
class NightModels:
    """setup: what describes new images; beside: what gives them descriptors of another model as
    well, None where there is none; identities: of the models of the era."""

    setup: DescriberSetup
    beside: DescriberSetup | None
    identities: dict[str, str]

    @classmethod
    def of(
        cls, settings: Settings, options: RunOptions, before: Generation | None, rebuilds: bool
    ) -> NightModels:
        """Load all models once; ModelError or InputError where one cannot be used.

        rebuilds: whether the upgrade that was begun ends tonight: then `settings` are its own.
        """
        setup = DescriberSetup.chosen(settings, options)
        if before is None or before.upgrade is None or rebuilds:
            return cls(setup, None, models_of(setup))
        other = setup_of(before.upgrade, options)
        if before.upgrade.compatible:
            return cls(other, None, before.era.models)
        return cls(_installed(setup, before), replace(other, local=False), before.era.models)


def setup_of(upgrade: Upgrade, options: RunOptions) -> DescriberSetup:
    """What describes images with the other model; InputError where it is no longer the one that
    the upgrade was begun with. options: of tonight, for what is not frozen."""
    options = era_options(upgrade.era, options)
    setup = DescriberSetup.chosen(Settings.of(options, "dedup", BeamStorage()), options)
    found = models_of(setup)
    if found != upgrade.era.models:
        raise InputError(
            f"the upgrade was begun with the models {_said(upgrade.era.models)}, but here they are "
            f"{_said(found)}: use what it was begun with"
        )
    return setup


def _installed(setup: DescriberSetup, before: Generation) -> DescriberSetup:
    """What makes the descriptors that the catalogue has; without its model, none: local features
    carry the search then, until the upgrade is done."""
    try:
        if models_of(setup)["descriptor"] == before.era.models["descriptor"]:
            return setup
    except ModelError:
        pass
    return replace(setup, model=None)


def _said(models: dict[str, str]) -> str:
    return ", ".join(f"{name} {identity}" for name, identity in sorted(models.items()))
