"""Producing: a long, restartable run of a frozen model on a large cell."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import memory, reference
    from .deck import hills_name
    from .needs import Estimate, check, check_plumed, estimate
    from .outputs import frame_size
    from .plan import Begun, Plan, for_ranks, make, walker_names
    from .room import Room
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
    "check_plumed",
    "estimate",
    "for_ranks",
    "frame_size",
    "hills_name",
    "job",
    "make",
    "memory",
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
        "memory": (),
        "needs": ("Estimate", "check", "check_plumed", "estimate"),
        "outputs": ("frame_size",),
        "plan": ("Begun", "Plan", "for_ranks", "make", "walker_names"),
        "room": ("Room",),
        "running": ("BEGUN", "begun_with", "run", "shown_decks", "stop"),
        "reference": (),
        "settings": ("ProductionSettings", "read"),
        "starts": ("GRACE_S", "Outcome", "Shown", "job"),
    },
)
