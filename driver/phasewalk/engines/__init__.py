"""Engines: finding programs and processors, and starting jobs."""

from . import plugin, shared_code
from .discovery import (
    HOW_TO_GET_PLUMED,
    PACKAGES,
    Engines,
    EngineSettings,
    available_cores,
    cache_dir,
    find,
    has_gpu,
    processor,
    versions,
    which,
)
from .lammps_library import Library

__all__ = [
    "HOW_TO_GET_PLUMED",
    "PACKAGES",
    "EngineSettings",
    "Engines",
    "Library",
    "available_cores",
    "cache_dir",
    "find",
    "has_gpu",
    "plugin",
    "processor",
    "shared_code",
    "versions",
    "which",
]
