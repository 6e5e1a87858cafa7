"""Molecules are whole in the picture, wherever the cell cuts them."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.geometry import find_mic

from helpers.recorded import RECORDED
from phasewalk.report import scenes
from phasewalk.structures import molecules
from phasewalk.structures.molecules import whole


def distances(atoms: Atoms, positions: np.ndarray) -> np.ndarray:
    """Of bonded pairs, as they are drawn."""
    pairs = [
        (i, j)
        for i in range(len(atoms))
        for j in range(i)
        if atoms.get_distance(i, j, mic=True) < (1.7 if 1 not in atoms.numbers[[i, j]] else 1.3)
    ]
    return np.array([np.linalg.norm(positions[i] - positions[j]) for i, j in pairs])


@pytest.mark.parametrize("shift", [0.0, 2.9, 5.8])
def test_water_across_faces_of_a_triclinic_cell(shift: float) -> None:
    water = molecule("H2O")
    cell = [[6.0, 0, 0], [1.5, 6.0, 0], [0.7, -0.9, 6.0]]
    atoms = Atoms(water.symbols, water.positions + shift, cell=cell, pbc=True)
    atoms.wrap()
    positions = whole(atoms)
    assert distances(atoms, positions).max() < 1.0
    middle = positions.mean(axis=0) @ np.linalg.inv(np.array(cell))
    assert ((middle > -0.01) & (middle < 1.01)).all()
    moved, _ = find_mic(positions - atoms.positions, atoms.cell, pbc=True)
    assert np.abs(moved).max() < 1e-9  # the same atoms, in other images


def test_linkers_of_a_framework_are_whole_and_its_metal_stays_in_the_cell() -> None:
    frames = scenes.collect(RECORDED, [1, 2, 3, 4])
    for _, atoms in frames:
        positions = whole(atoms)
        organic = atoms.numbers != 13
        assert distances(atoms[organic], positions[organic]).max() < 1.7
        metal = positions[~organic] @ np.linalg.inv(atoms.cell.array)
        assert ((metal > -1e-6) & (metal < 1 + 1e-6)).all()


@pytest.mark.parametrize(
    "atoms", [bulk("NaCl", "rocksalt", 5.64, cubic=True), bulk("C", "diamond", 3.57, cubic=True),
              bulk("Cu", cubic=True)]
)  # fmt: skip
def test_crystals_stay_in_their_cell(atoms: Atoms) -> None:
    atoms.positions += 7.0
    fractions = whole(atoms) @ np.linalg.inv(atoms.cell.array)
    assert ((fractions > -1e-6) & (fractions < 1 + 1e-6)).all()


def test_what_has_no_cell_is_left_alone() -> None:
    atoms = molecule("C6H6")
    assert np.array_equal(whole(atoms), atoms.positions)
    assert molecules.STRETCH > 1.0
