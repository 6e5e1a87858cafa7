"""The network's settings with the defaults of the version that began the campaign.

Its network cannot change, so a default that changes with a version must not change it.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models import ModelSettings
from ..store import IDENTITY, read_identity
from .config import CampaignSettings

if TYPE_CHECKING:
    from .inputs import Campaign


def network_in_words(model: ModelSettings) -> str:
    """The network as a campaign's identity states it."""
    zbl = f"zbl {model.zbl}"
    if model.zbl and model.zbl_range_fraction is not None:
        zbl += f" within {model.zbl_range_fraction:g} covalent radii"
    return f"{model.preset}, r_max {model.cutoff_A:g} Å, {model.dtype}, {zbl}"


def as_begun(settings: CampaignSettings, identity: Mapping[str, Any]) -> CampaignSettings:
    """The settings with the earlier defaults of the repulsion, if the campaign began with them.

    Args:
        settings: as they are now.
        identity: of the campaign's directory.
    """
    begun, model = str(identity.get("model", "")), settings.model
    before: dict[str, Any] = {}
    if begun.endswith("zbl False") and "zbl" not in model.model_fields_set:
        before["zbl"] = False
    if begun.endswith("zbl True") and "zbl_range_fraction" not in model.model_fields_set:
        before["zbl_range_fraction"] = None
    return settings.model_copy(update={"model": model.model_copy(update=before)})


def in_directory(campaign: "Campaign", root: Path) -> "Campaign":
    """The campaign with settings `as_begun`; as it is if the directory is not one of a campaign."""
    if not (root / IDENTITY).is_file():
        return campaign
    return replace(campaign, settings=as_begun(campaign.settings, read_identity(root)))
