"""Swapped weights in LAMMPS: equal to a compilation of the second checkpoint, unlike the first."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from physics_training import Recipe, Workshop, frames

from phasewalk import evaluation, swap
from phasewalk.engines import Engines
from phasewalk.errors import InputError
from phasewalk.evaluation import Prediction
from phasewalk.jobs import run
from phasewalk.launch import LocalLauncher
from phasewalk.models import ENDINGS

pytestmark = [pytest.mark.engine, pytest.mark.slow]

FIRST = Recipe()
FIELDS = ("energy", "energies", "forces", "stress")
# eV, eV, eV/Å, eV/Å³: rounding of the sums; what two trainings differ by is a thousand times more
NOISE = {"float32": (1e-5, 2e-6, 2e-6, 5e-8), "float64": (1e-10, 1e-11, 1e-11, 1e-13)}


def second_of(first: Recipe) -> Recipe:
    """Other weights in the same graph; shifts count as weights."""
    return dataclasses.replace(first, seed=2, apart=2.0)


def swapped(workshop: Workshop, first: Recipe, second: Recipe, mode: str, folder: Path) -> Path:
    """The deployment of the first recipe with the weights of the second."""
    package = workshop.deploy(first, mode).read_bytes()
    template = swap.find_weights(package, *swap.read_weights(workshop.train(first).weights))
    path = folder / f"swapped{ENDINGS[mode]}"
    weights = swap.read_weights(workshop.train(second).weights)
    path.write_bytes(swap.swap(package, template, *weights))
    return path


def said(model: Path, engines: Engines, folder: Path) -> tuple[Prediction, ...]:
    """What LAMMPS computes with it."""
    job = evaluation.job(
        "evaluate", model, frames=frames(), directory=folder, env=dict(engines.env)
    )
    return evaluation.read(run(LocalLauncher(), job)).frames


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [("torchscript", "float32"), ("torchscript", "float64"), ("aotinductor", "float32")],
)
def test_swapped_is_compiled_again(
    workshop: Workshop, engines: Engines, tmp_path: Path, mode: str, dtype: str
) -> None:
    first = dataclasses.replace(FIRST, dtype=dtype)
    second = second_of(first)
    made = swapped(workshop, first, second, mode, tmp_path)
    found = said(made, engines, tmp_path / "swapped")
    again = said(workshop.deploy(second, mode), engines, tmp_path / "again")
    before = said(workshop.deploy(first, mode), engines, tmp_path / "before")
    for mine, theirs, old in zip(found, again, before, strict=True):
        for field, noise in zip(FIELDS, NOISE[dtype], strict=True):
            value = np.asarray(getattr(mine, field))
            assert np.abs(value - getattr(theirs, field)).max() < noise, field
            assert np.abs(value - getattr(old, field)).max() > 1000 * noise, field


@pytest.mark.parametrize(
    "change", [{"r_max_A": 4.5}, {"scale": 2.0}, {"dtype": "float64"}], ids=lambda c: next(iter(c))
)
def test_what_is_compiled_in_is_not_swapped(
    workshop: Workshop, tmp_path: Path, change: dict[str, object]
) -> None:
    other = dataclasses.replace(FIRST, **change, epochs=1 if "dtype" not in change else 40)
    with pytest.raises(InputError, match="compiled for another graph; compile it again"):
        swapped(workshop, FIRST, other, "torchscript", tmp_path)


def test_a_shift_is_swapped(workshop: Workshop, engines: Engines, tmp_path: Path) -> None:
    """The same network with other shifts: only the energies of the atoms change, and by those."""
    graph, weights = swap.read_weights(workshop.train(FIRST).weights)
    (name,) = (name for name in weights if "shifts" in name)
    package = workshop.deploy(FIRST).read_bytes()
    template = swap.find_weights(package, graph, weights)
    added = np.array([0.25, 0.5], weights[name].dtype).reshape(weights[name].shape)
    moved = {**weights, name: weights[name] + added}
    path = tmp_path / "moved.nequip.pth"
    path.write_bytes(swap.swap(package, template, graph, moved))
    old = said(workshop.deploy(FIRST), engines, tmp_path / "old")
    new = said(path, engines, tmp_path / "new")
    for atoms, before, after in zip(frames(), old, new, strict=True):
        shifts = np.where(atoms.symbols == "Cl", 0.25, 0.5)
        np.testing.assert_allclose(after.energies - before.energies, shifts, atol=5e-6)
        np.testing.assert_allclose(after.forces, before.forces, atol=2e-6)
