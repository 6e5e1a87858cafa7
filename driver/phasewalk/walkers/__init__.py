"""Walkers: their input scripts, the LAMMPS launch that runs them, and its results."""

from . import decks, division, logs, outcomes, policy
from .candidates import LAST, Candidate, CandidateSettings, redundant, select, volume_limits
from .decks import DECK, lammps_frame
from .limits import BONDS, ENDED
from .logs import Stop, broke_down
from .near_frames import NearFrames
from .partitions import SEGMENT, colvar_files, files, job, launch, plumed_text, reduce_cell
from .policy import FrameError, HoldOutSettings, PolicySettings
from .segment import (
    Engines,
    Ensemble,
    SegmentPlan,
    SegmentResult,
    SegmentSettings,
    SystemSettings,
    Thermostat,
    Walker,
    WalkerResult,
    check_damping,
)
from .watch import Watch

__all__ = [
    "BONDS",
    "DECK",
    "ENDED",
    "LAST",
    "SEGMENT",
    "Candidate",
    "CandidateSettings",
    "Engines",
    "Ensemble",
    "FrameError",
    "HoldOutSettings",
    "NearFrames",
    "PolicySettings",
    "SegmentPlan",
    "SegmentResult",
    "SegmentSettings",
    "Stop",
    "SystemSettings",
    "Thermostat",
    "Walker",
    "WalkerResult",
    "Watch",
    "broke_down",
    "check_damping",
    "colvar_files",
    "decks",
    "division",
    "files",
    "job",
    "lammps_frame",
    "launch",
    "logs",
    "outcomes",
    "plumed_text",
    "policy",
    "reduce_cell",
    "redundant",
    "select",
    "volume_limits",
]
