"""Engines, tiny models and the parity table of the physics tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the helper modules beside this file
import physics_models

Compiled = Callable[[physics_models.ModelSpec, str], Path]


def _missing(engine: str, how: str) -> None:
    """Skips, or fails where REQUIRE_ENGINES names the engine."""
    required = os.environ.get("REQUIRE_ENGINES", "").replace(",", " ").split()
    if engine in required:
        pytest.fail(f"{engine} is missing and REQUIRE_ENGINES names it: {how}")
    pytest.skip(f"{engine} is missing: {how}")


@pytest.fixture(scope="session")
def plugin_path() -> Path:
    """The built plugin."""
    path = os.environ.get("PHASEWALK_PLUGIN", "")
    if not path:
        _missing("plugin", "set PHASEWALK_PLUGIN to phasewalkplugin.so")
    return Path(path).resolve()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def plumed_kernel() -> str:
    """The path of PLUMED's kernel, also put where the wrapper looks for it."""
    if "PLUMED_KERNEL" not in os.environ:
        try:
            files = metadata.files("hillclimber") or []
        except metadata.PackageNotFoundError:
            files = []
        kernels = [f for f in files if f.name.startswith("libplumedKernel.")]
        if not kernels:
            _missing("plumed", "set PLUMED_KERNEL to libplumedKernel.so")
        os.environ["PLUMED_KERNEL"] = str(kernels[0].locate())
    return os.environ["PLUMED_KERNEL"]


@pytest.fixture(scope="session")
def compiled(request: pytest.FixtureRequest) -> Compiled:
    """`compiled(spec, kind)`: a model file, cached in PHASEWALK_TEST_CACHE or pytest's cache."""
    folder = os.environ.get("PHASEWALK_TEST_CACHE", "")
    cache = Path(folder) if folder else request.config.cache.mkdir("phasewalk-models")
    cache.mkdir(parents=True, exist_ok=True)
    return lambda spec, kind: physics_models.compiled(spec, kind, cache)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints the parity rows that tests recorded with `record_property("parity", row)`."""
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    rows = sorted(value for r in reports for key, value in r.user_properties if key == "parity")
    if rows:
        terminalreporter.section("LAMMPS against ASE: largest differences")
        terminalreporter.write_line(
            f"{'model':<13}{'dtype':<9}{'cell':<12}{'energy eV':>11}{'forces eV/Å':>13}"
            f"{'stress eV/Å³':>14}"
        )
    for kind, dtype, cell, energy, forces, stress in rows:
        terminalreporter.write_line(
            f"{kind:<13}{dtype:<9}{cell:<12}{energy:>11.1e}{forces:>13.1e}{stress:>14.1e}"
        )
