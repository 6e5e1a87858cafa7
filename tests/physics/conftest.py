"""Engines, tiny models and the parity table of the physics tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the helper modules beside this file
import physics_models
import physics_training

from helpers import needs
from phasewalk.engines import plugin
from phasewalk.engines.discovery import Engines, EngineSettings, find, with_plugin

Compiled = Callable[[physics_models.ModelSpec, str], Path]


@pytest.fixture(scope="session")
def engines() -> Engines:
    """The engines, as the driver finds them, with the plugin that was built for them."""
    needs.require("plugin")
    found = find(EngineSettings(), os.environ)
    return with_plugin(found, plugin.cached(found, os.environ) or Path())


@pytest.fixture(scope="session")
def plugin_path(engines: Engines) -> Path:
    """The built plugin."""
    return engines.plugin or Path()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def plumed_kernel(engines: Engines) -> str:
    """The path of PLUMED's kernel, also put where the wrapper looks for it."""
    assert engines.plumed is not None
    os.environ["PLUMED_KERNEL"] = str(engines.plumed.kernel)
    return os.environ["PLUMED_KERNEL"]


@pytest.fixture(scope="session")
def model_cache(request: pytest.FixtureRequest) -> Path:
    """Where models are kept: PHASEWALK_TEST_CACHE or pytest's cache."""
    folder = os.environ.get("PHASEWALK_TEST_CACHE", "")
    cache = Path(folder) if folder else request.config.cache.mkdir("phasewalk-models")
    cache.mkdir(parents=True, exist_ok=True)
    return cache


@pytest.fixture(scope="session")
def compiled(model_cache: Path) -> Compiled:
    """`compiled(spec, kind)`: the file of a model with random weights."""
    return lambda spec, kind: physics_models.compiled(spec, kind, model_cache)


@pytest.fixture(scope="session")
def workshop(model_cache: Path) -> physics_training.Workshop:
    """Trains and deploys models through the public path."""
    return physics_training.Workshop(model_cache)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need the engines."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.engine("lammps", "plumed", "plugin", "nequip"))
