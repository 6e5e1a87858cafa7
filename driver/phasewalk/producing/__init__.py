"""Producing: a long, restartable run of a frozen model on a large cell."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import reference
    from .deck import hills_name
    from .needs import Estimate, check, estimate
    from .plan import Plan, make, walker_names
    from .running import BEGUN, Begun, Outcome, Shown, begun_with, run, shown_decks
    from .settings import ProductionSettings, read

__all__ = [
    "BEGUN",
    "Begun",
    "Estimate",
    "Outcome",
    "Plan",
    "ProductionSettings",
    "Shown",
    "begun_with",
    "check",
    "estimate",
    "hills_name",
    "make",
    "read",
    "reference",
    "run",
    "shown_decks",
    "walker_names",
]

__getattr__ = lazy(
    __name__,
    {
        "deck": ("hills_name",),
        "needs": ("Estimate", "check", "estimate"),
        "plan": ("Plan", "make", "walker_names"),
        "running": ("BEGUN", "Begun", "Outcome", "Shown", "begun_with", "run", "shown_decks"),
        "reference": (),
        "settings": ("ProductionSettings", "read"),
    },
)
