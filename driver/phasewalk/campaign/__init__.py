"""Settings of a campaign, the files that they refer to, its stop rules and its tasks."""

from . import (
    begun,
    config,
    config_reference,
    deck_versions,
    guards,
    inputs,
    parts,
    plumed_inputs,
    stop,
    theory,
)
from .config import BootstrapSettings, CampaignSettings, parse
from .inputs import Campaign
from .stop import located
from .stop_settings import FreeEnergyGoal
from .tasks import Counter, Observer, Outputs, Task, Work, in_background

__all__ = [
    "BootstrapSettings",
    "Campaign",
    "CampaignSettings",
    "Counter",
    "FreeEnergyGoal",
    "Observer",
    "Outputs",
    "Task",
    "Work",
    "begun",
    "config",
    "config_reference",
    "deck_versions",
    "guards",
    "in_background",
    "inputs",
    "located",
    "parse",
    "parts",
    "plumed_inputs",
    "stop",
    "theory",
]
