"""Engines: finding programs and processors, and starting jobs."""

from . import plugin, shared_code, workplace
from .discovery import (
    HOW_TO_GET_PLUMED,
    Engines,
    EngineSettings,
    cache_dir,
    find,
    with_machine,
)
from .lammps_library import Library
from .machine import Machine, ask, here
from .machine_child import PACKAGES, available_cores, versions, which
from .processes import Command, Outside, ProcessSession

__all__ = [
    "HOW_TO_GET_PLUMED",
    "PACKAGES",
    "Command",
    "EngineSettings",
    "Engines",
    "Library",
    "Machine",
    "Outside",
    "ProcessSession",
    "ask",
    "available_cores",
    "cache_dir",
    "find",
    "here",
    "plugin",
    "shared_code",
    "versions",
    "which",
    "with_machine",
    "workplace",
]
