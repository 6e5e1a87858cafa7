"""Swapped weights in LAMMPS: equal to the checkpoint's own compilation, unlike another's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import physics_swapping as swapping
import pytest
from physics_training import Recipe, Workshop, frames

from phasewalk.engines.discovery import Engines
from phasewalk.errors import InputError
from phasewalk.models import swap

pytestmark = [pytest.mark.engine, pytest.mark.slow]

FIRST = Recipe()


@pytest.mark.parametrize(
    ("dtype", "mode"),
    [
        ("float32", "torchscript"),
        ("float32", "aotinductor"),
        pytest.param("float64", "torchscript", marks=pytest.mark.long),
        pytest.param("float64", "aotinductor", marks=pytest.mark.long),
    ],
)
def test_swapped_is_compiled(
    workshop: Workshop, engines: Engines, tmp_path: Path, mode: str, dtype: str
) -> None:
    recipe = dataclasses.replace(FIRST, dtype=dtype)
    swapping.assert_swapped_is_compiled(recipe, mode, workshop, engines, tmp_path)


@pytest.mark.parametrize(
    "change", [{"r_max_A": 4.5}, {"scale": 2.0}, {"dtype": "float64"}], ids=lambda c: next(iter(c))
)
def test_what_is_compiled_in_is_not_swapped(
    workshop: Workshop, tmp_path: Path, change: dict[str, object]
) -> None:
    other = dataclasses.replace(FIRST, **change, epochs=1)
    with pytest.raises(InputError, match=r"its graph differs.*compile it again"):
        swapping.swapped(workshop, FIRST, other, "torchscript", tmp_path)


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
    old = swapping.said(workshop.deploy(FIRST), engines, tmp_path / "old")
    new = swapping.said(path, engines, tmp_path / "new")
    for atoms, before, after in zip(frames(), old, new, strict=True):
        shifts = np.where(atoms.symbols == "Cl", 0.25, 0.5)
        np.testing.assert_allclose(after.energies - before.energies, shifts, atol=5e-6)
        np.testing.assert_allclose(after.forces, before.forces, atol=2e-6)
