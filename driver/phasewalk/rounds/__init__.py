"""Rounds: the main loop, start frames of walkers, segments, and rewinding."""

from . import added, apart, explore, loop, reopen, rewinding, steer
from .steer import State, read_states, states_file, walker_id

__all__ = [
    "State",
    "added",
    "apart",
    "explore",
    "loop",
    "read_states",
    "reopen",
    "rewinding",
    "states_file",
    "steer",
    "walker_id",
]
