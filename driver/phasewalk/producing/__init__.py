"""Producing: a long, restartable run of a frozen model on a large cell."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import reference
    from .deck import hills_name
    from .needs import Estimate, Room, check, estimate
    from .plan import Begun, Plan, make, walker_names
    from .running import BEGUN, begun_with, run, shown_decks, stop
    from .settings import ProductionSettings, read
    from .starts import GRACE_S, Outcome, Shown, job

__all__ = [
    "BEGUN",
    "GRACE_S",
    "Begun",
    "Estimate",
    "Outcome",
    "Plan",
    "ProductionSettings",
    "Room",
    "Shown",
    "begun_with",
    "check",
    "estimate",
    "hills_name",
    "job",
    "make",
    "read",
    "reference",
    "run",
    "shown_decks",
    "stop",
    "walker_names",
]

__getattr__ = lazy(
    __name__,
    {
        "deck": ("hills_name",),
        "needs": ("Estimate", "Room", "check", "estimate"),
        "plan": ("Begun", "Plan", "make", "walker_names"),
        "running": ("BEGUN", "begun_with", "run", "shown_decks", "stop"),
        "reference": (),
        "settings": ("ProductionSettings", "read"),
        "starts": ("GRACE_S", "Outcome", "Shown", "job"),
    },
)
