"""Producing: a long, restartable run of a frozen model on a large cell."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import memory, reference
    from .deck import hills_name
    from .needs import Estimate, Room, check, check_plumed, estimate
    from .outputs import frame_size
    from .plan import Begun, Plan, for_ranks, make, walker_names
    from .running import BEGUN, Outcome, Shown, begun_with, run, shown_decks
    from .settings import ProductionSettings, read

__all__ = [
    "BEGUN",
    "Begun",
    "Estimate",
    "Outcome",
    "Plan",
    "ProductionSettings",
    "Room",
    "Shown",
    "begun_with",
    "check",
    "check_plumed",
    "estimate",
    "for_ranks",
    "frame_size",
    "hills_name",
    "make",
    "memory",
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
        "needs": ("Estimate", "Room", "check", "check_plumed", "estimate"),
        "outputs": ("frame_size",),
        "plan": ("Begun", "Plan", "for_ranks", "make", "walker_names"),
        "running": ("BEGUN", "Outcome", "Shown", "begun_with", "run", "shown_decks"),
        "memory": (),
        "reference": (),
        "settings": ("ProductionSettings", "read"),
    },
)
