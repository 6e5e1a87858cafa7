"""The settings with the defaults of the version that began the campaign.

A campaign goes on as it was begun: a default that changes with a version changes neither its
network and its training nor what happens to its walkers.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models import Budget, FinalSettings, ModelSettings
from ..store import IDENTITY, Segment, Store, Trained, read_identity, segment_task, train_task
from .config import CampaignSettings

if TYPE_CHECKING:
    from .inputs import Campaign


ADDED_LIMITS = ("max_energy_error_meV_per_atom",)
"""Settings of `policy` that a campaign does not have if its first segment records no limits."""


ADAM: dict[str, Any] = {
    "optimizer": "adam",
    "first": Budget(epochs=70, learning_rate=0.02),
    "warm": Budget(epochs=25, learning_rate=0.01),
    "final": FinalSettings(budget=Budget(epochs=100, learning_rate=0.01)),
}
"""Settings of `model` in campaigns that began before there was another optimizer."""


def network_in_words(model: ModelSettings) -> str:
    """The network as a campaign's identity states it."""
    zbl = f"zbl {model.zbl}"
    if model.zbl and model.zbl_range_fraction is not None:
        zbl += f" within {model.zbl_range_fraction:g} covalent radii"
    return f"{model.preset}, r_max {model.cutoff_A:g} Å, {model.dtype}, {zbl}"


def as_begun(
    settings: CampaignSettings, identity: Mapping[str, Any], store: Store | None
) -> CampaignSettings:
    """The settings; with earlier defaults for what a campaign began with and they do not state.

    Args:
        settings: as they are now.
        identity: of the campaign's directory.
        store: its journal; None if it is not read yet.
    """
    settings = _network(settings, identity)
    first = None if store is None else first_segment(store)
    trained = None if store is None else _first_training(store)
    stated = settings.model.model_fields_set
    if trained and trained.optimizer == "adam" and "optimizer" not in stated:
        before = {k: v for k, v in ADAM.items() if k not in stated}
        settings = settings.model_copy(update={"model": settings.model.model_copy(update=before)})
    if first is not None and first.guarded is None:
        systems = {
            name: system if system.bonds else system.model_copy(update={"bonds": "free"})
            for name, system in settings.systems.items()
        }
        settings = settings.model_copy(update={"systems": systems})
    if first is not None and first.limits is None:
        policy = settings.policy
        off = {name: None for name in ADDED_LIMITS if name not in policy.model_fields_set}
        settings = settings.model_copy(update={"policy": policy.model_copy(update=off)})
    return settings


def _network(settings: CampaignSettings, identity: Mapping[str, Any]) -> CampaignSettings:
    begun, model = str(identity.get("model", "")), settings.model
    before: dict[str, Any] = {}
    if begun.endswith("zbl False") and "zbl" not in model.model_fields_set:
        before["zbl"] = False
    if begun.endswith("zbl True") and "zbl_range_fraction" not in model.model_fields_set:
        before["zbl_range_fraction"] = None
    return settings.model_copy(update={"model": model.model_copy(update=before)})


def first_segment(store: Store) -> Segment | None:
    """The record of round 1's segment; None if it is not finished."""
    record = store.find(segment_task(1))
    return record.made if record and isinstance(record.made, Segment) else None


def _first_training(store: Store) -> Trained | None:
    record = store.find(train_task(0))
    return record.made if record and isinstance(record.made, Trained) else None


def of(campaign: "Campaign", store: Store) -> "Campaign":
    """The campaign with settings `as_begun`."""
    identity = read_identity(store.root)
    return replace(campaign, settings=as_begun(campaign.settings, identity, store))


def in_directory(campaign: "Campaign", root: Path) -> "Campaign":
    """The campaign with the network that it has in a directory, if there is a campaign in it.

    What is compared before the directory is opened; the rest, which the journal says, is of `of`.
    """
    if not (root / IDENTITY).is_file():
        return campaign
    return replace(campaign, settings=as_begun(campaign.settings, read_identity(root), None))
