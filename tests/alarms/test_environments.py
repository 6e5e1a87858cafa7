"""Descriptors do not depend on what has no physical meaning, and differ where atoms do."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from numpy.typing import NDArray

from phasewalk.alarms import farthest, surroundings

ELEMENTS = ("Na", "Cl", "H")
CUTOFF = 5.0


def salt(seed: int = 0, displacement: float = 0.15) -> Atoms:
    """A disordered, tilted cell."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    noise = np.random.default_rng(seed)
    strain = np.eye(3) + 0.05 * noise.standard_normal((3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += displacement * noise.standard_normal((len(atoms), 3))
    return atoms


def environments(atoms: Atoms) -> NDArray[np.float64]:
    return surroundings(atoms, ELEMENTS, CUTOFF).environments


def test_rotation_reflection_translation() -> None:
    atoms = salt()
    expected = environments(atoms)
    turned = atoms.copy()
    turned.rotate(73, (1, 2, 3), rotate_cell=True)
    turned.positions += (0.3, -7.1, 11.0)
    assert environments(turned) == pytest.approx(expected, abs=1e-9)
    mirror = np.diag([1, 1, -1])
    turned.set_cell(turned.cell.array @ mirror, scale_atoms=True)
    assert environments(turned) == pytest.approx(expected, abs=1e-9)


def test_permutation_moves_the_rows() -> None:
    atoms = salt()
    order = np.random.default_rng(1).permutation(len(atoms))
    found = surroundings(atoms[order], ELEMENTS, CUTOFF)
    assert found.environments == pytest.approx(environments(atoms)[order], abs=1e-9)
    one, other = found.pairs[0, 1]
    names = atoms[order].get_chemical_symbols()
    assert {names[one], names[other]} == {"Na", "Cl"}
    distance = atoms[order].get_distance(int(one), int(other), mic=True)
    assert distance == pytest.approx(found.closest[0, 1])


def test_a_supercell_has_the_same_environments_and_contacts() -> None:
    atoms = salt()
    whole = make_supercell(atoms, [[2, 1, 0], [0, 1, 0], [0, 0, 2]])
    one, many = (surroundings(each, ELEMENTS, CUTOFF) for each in (atoms, whole))
    assert many.environments == pytest.approx(np.tile(one.environments, (4, 1)), abs=1e-9)
    assert many.closest == pytest.approx(one.closest)
    assert np.isinf(one.closest[2]).all()  # there is no hydrogen


def test_it_is_continuous_at_the_cutoff() -> None:
    def pair(distance: float) -> Atoms:
        return Atoms("NaCl", [[0, 0, 0], [distance, 0, 0]], cell=[30, 30, 30], pbc=True)

    inside, outside = environments(pair(CUTOFF - 1e-4)), environments(pair(CUTOFF + 1e-4))
    assert inside == pytest.approx(outside, abs=1e-6)
    assert np.abs(environments(pair(2.5)) - environments(pair(2.6))).max() > 0.01


def test_arrangements_with_equal_distances_differ() -> None:
    """Four neighbours at the same distance: a square and a tetrahedron, and one side of it."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    square = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], dtype=float)
    found = []
    for directions in (corners, square):
        positions = np.vstack([[0, 0, 0], 2.4 * directions])
        atoms = Atoms("NaCl4", positions, cell=[30, 30, 30], pbc=True)
        found.append(environments(atoms)[0])
    shells = len(found[0]) // 3
    radial, first, second = (slice(n * shells, (n + 1) * shells) for n in range(3))
    assert found[0][radial] == pytest.approx(found[1][radial], abs=1e-9)
    for one in found:  # both have an inversion of neighbours' mean at their centre
        assert one[first] == pytest.approx(0, abs=1e-6)
    assert found[0][second] == pytest.approx(0, abs=1e-6)  # cubic: no second moment
    assert found[1][second].max() > 0.5


def test_farthest_points_first() -> None:
    points = np.array([[0.0], [1.0], [1.1], [5.0], [5.0]])
    assert farthest(points, 2, np.array([[0.0]])) == [3, 2]
    assert farthest(points, 9, np.zeros((0, 1))) == [0, 3, 2, 1]  # equal ones only once
    assert farthest(points, 2, points) == []
    assert farthest(np.zeros((0, 1)), 2, points) == []
