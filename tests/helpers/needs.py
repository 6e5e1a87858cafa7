"""Which engines are there. A missing one skips a test, or fails it where it was promised."""

import importlib.util
import os
from collections.abc import Callable, Mapping

import pytest

from helpers import browser
from phasewalk import engines
from phasewalk.engines import discovery, plugin
from phasewalk.engines.discovery import EngineSettings
from phasewalk.errors import EngineMissing
from phasewalk.reference.programs import PROGRAMS


def _package(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


def _found() -> discovery.Engines | None:
    try:
        return discovery.find(EngineSettings(), os.environ)
    except EngineMissing:
        return None


def _plumed() -> bool:
    found = _found()
    return found is not None and found.plumed is not None


def _plugin() -> bool:
    """Built before, by `phasewalk build-plugin`."""
    found = _found()
    return found is not None and plugin.cached(found, os.environ) is not None


LOOKS: Mapping[str, Callable[[], bool]] = {
    "lammps": lambda: _found() is not None,
    "plumed": _plumed,
    "plugin": _plugin,
    "nequip": _package("nequip"),
    "tblite": _package("tblite"),
    "browser": lambda: _package("selenium")() and browser.program() is not None,
    "cp2k": lambda: any(map(engines.which, PROGRAMS)),
}


def missing(name: str) -> None:
    """Skip for want of an engine, or fail where REQUIRE_ENGINES names it (or says `all`)."""
    required = os.environ.get("REQUIRE_ENGINES", "").replace(",", " ").split()
    if name in required or "all" in required:
        pytest.fail(f"{name} is missing, and REQUIRE_ENGINES is {' '.join(required)}")
    pytest.skip(f"{name} is missing")


def require(name: str) -> None:
    """See `missing`; nothing where the engine is there."""
    if not LOOKS[name]():
        missing(name)
