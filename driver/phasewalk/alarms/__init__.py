"""Alarms: frames of a long run that are unlike everything that its model was trained on."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from .campaigns import of_campaign
    from .chosen import choose, label
    from .environments import Surroundings, farthest, surroundings
    from .looking import Alarm, look
    from .trained import Trained, learn, read
    from .watching import ALARMS, FRAMES, TRAINED, Output, Watch, again

__all__ = [
    "ALARMS",
    "FRAMES",
    "TRAINED",
    "Alarm",
    "Output",
    "Surroundings",
    "Trained",
    "Watch",
    "again",
    "choose",
    "farthest",
    "label",
    "learn",
    "look",
    "of_campaign",
    "read",
    "surroundings",
]

__getattr__ = lazy(
    __name__,
    {
        "campaigns": ("of_campaign",),
        "chosen": ("choose", "label"),
        "environments": ("Surroundings", "farthest", "surroundings"),
        "looking": ("Alarm", "look"),
        "trained": ("Trained", "learn", "read"),
        "watching": ("ALARMS", "FRAMES", "TRAINED", "Output", "Watch", "again"),
    },
)
