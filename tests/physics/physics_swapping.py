"""A network's compilation with the weights of a checkpoint, against that checkpoint's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from physics_training import Recipe, Workshop, frames

from phasewalk.engines.discovery import Engines
from phasewalk.engines.local import LocalLauncher
from phasewalk.jobs import run
from phasewalk.models import swap, training_config
from phasewalk.models.model import ENDINGS
from phasewalk.validation import accuracy
from phasewalk.validation.accuracy import Prediction

FIELDS = ("energy", "energies", "forces", "stress")
# eV, eV, eV/Å, eV/Å³: rounding of the sums; what two trainings differ by is a thousand times more
NOISE = {"float32": (1e-5, 2e-6, 2e-6, 5e-8), "float64": (1e-10, 1e-11, 1e-11, 1e-13)}


def swapped(workshop: Workshop, network: Recipe, trained: Recipe, mode: str, folder: Path) -> Path:
    """The network's compilation with the trained weights."""
    compiled = workshop.network(network, mode)
    package = compiled.read_bytes()
    arbitrary = swap.read_weights(compiled.with_name(training_config.WEIGHTS))
    template = swap.find_weights(package, *arbitrary)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"swapped{ENDINGS[mode]}"
    weights = swap.read_weights(workshop.train(trained).weights)
    path.write_bytes(swap.swap(package, template, *weights))
    return path


def said(model: Path, engines: Engines, folder: Path) -> tuple[Prediction, ...]:
    """What LAMMPS computes with it."""
    job = accuracy.job("evaluate", model, frames=frames(), directory=folder, env=dict(engines.env))
    return accuracy.read(run(LocalLauncher(), job)).frames


def assert_swapped_is_compiled(
    recipe: Recipe, mode: str, workshop: Workshop, engines: Engines, folder: Path
) -> None:
    """Equal to the checkpoint's own compilation, and unlike the generation before."""
    before = dataclasses.replace(recipe, seed=2, apart=2.0)
    made = {
        name: said(swapped(workshop, recipe, trained, mode, folder / name), engines, folder / name)
        for name, trained in (("mine", recipe), ("before", before))
    }
    own = said(workshop.deploy(recipe, mode), engines, folder / "own")
    for mine, old, theirs in zip(made["mine"], made["before"], own, strict=True):
        for field, noise in zip(FIELDS, NOISE[recipe.dtype], strict=True):
            value = np.asarray(getattr(mine, field))
            assert np.abs(value - getattr(theirs, field)).max() < noise, field
            assert np.abs(value - getattr(old, field)).max() > 1000 * noise, field
