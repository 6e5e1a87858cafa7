"""Rounds: the main loop, start frames of walkers, segments, and rewinding."""

from . import added, explore, loop, reopen, rewinding, steer
from .decision import START
from .steer import State, read_states, states_file, walker_id

__all__ = [
    "START",
    "State",
    "added",
    "explore",
    "loop",
    "read_states",
    "reopen",
    "rewinding",
    "states_file",
    "steer",
    "walker_id",
]
