"""The bonds of a start structure, and what of them a frame has lost or gained."""

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.fakes import MIL53, ROOT, crystal
from phasewalk.errors import InputError
from phasewalk.structures import bonds
from phasewalk.structures.bonds import Guard


def guard(atoms: Atoms, *left_out: str | int) -> Guard:
    return bonds.guard(atoms, left_out=left_out, break_ratio=1.4, form_ratio=1.2)


def boxed(name: str, size: float = 12.0) -> Atoms:
    """A molecule in a periodic box."""
    atoms: Atoms = molecule(name, cell=[size] * 3, pbc=True)
    return atoms


def mil53() -> Atoms:
    atoms: Atoms = ase.io.read(MIL53)
    return atoms


def test_a_framework_is_bonded_through_its_metal() -> None:
    found = guard(mil53())
    # Al(OH)(O2C-C6H4-CO2), twice: six Al-O to each Al, four of carboxylates and two of hydroxyls
    assert found.counts() == {
        ("Al", "O"): 12, ("C", "C"): 16, ("C", "H"): 8, ("C", "O"): 8, ("H", "O"): 2,
    }  # fmt: skip
    assert found.lengths(("C", "H")) == pytest.approx((1.08, 1.08), abs=0.01)
    assert found.fault(mil53()) is None


def test_the_reference_s_own_frames_are_intact() -> None:
    found = guard(mil53())
    frames = ase.io.read(MIL53.with_name("test.extxyz"), ":")
    assert len(frames) == 30
    assert [found.fault(frame) for frame in frames] == [None] * 30


@pytest.mark.parametrize(
    ("atoms", "near"),
    [
        (crystal(), {("Cl", "Cl"): 2.448, ("Cl", "Na"): 2.115, ("Na", "Na"): 2.656}),
        (bulk("Cu", cubic=True), {("Cu", "Cu"): 0.75 * 3.61 / np.sqrt(2)}),
        (bulk("MgO", "rocksalt", a=4.21), {("Mg", "O"): 0.75 * 2.105}),
        (bulk("GaAs", "zincblende", a=5.65), {("As", "Ga"): 0.75 * 5.65 * np.sqrt(3) / 4}),
    ],
)
def test_salts_and_metals_have_no_bonds_and_stay_apart(atoms: Atoms, near: dict[Any, Any]) -> None:
    found = guard(atoms)
    assert found.bonds == ()
    for pair, limit in near.items():
        assert found.near[pair] == pytest.approx(limit, abs=2e-3)
    assert found.fault(atoms) is None
    squeezed = atoms.copy()
    squeezed.set_cell(0.7 * atoms.cell, scale_atoms=True)
    assert "far closer than any in the start structure" in str(found.fault(squeezed))


def test_ions_among_molecules() -> None:
    """Sodium is bonded to nothing, zinc is; a perovskite's framework is not, its molecules are.

    Whether a metal is bonded depends on what it is bonded to.
    """
    cyanide = boxed("HCN")
    carbon, nitrogen = (cyanide.get_chemical_symbols().index(symbol) for symbol in "CN")
    axis = cyanide.positions[nitrogen] - cyanide.positions[carbon]
    place = cyanide.positions[nitrogen] + 2.0 * axis / np.linalg.norm(axis)
    assert not any("Na" in pair for pair in guard(cyanide + Atoms("Na", [place])).counts())
    assert guard(cyanide + Atoms("Zn", [place])).counts() == {
        ("C", "H"): 1,
        ("C", "N"): 1,
        ("N", "Zn"): 1,
    }
    salt = Atoms("PbI", positions=[[0, 0, 0], [0, 0, 3.0]])
    both = boxed("CH3CN", 14.0) + Atoms(salt.symbols, positions=salt.positions + 6.0)
    assert not any("Pb" in pair for pair in guard(both).counts())
    assert guard(both).fault(both) is None


def test_a_broken_bond_and_a_new_one_by_name() -> None:
    start = boxed("CH4")
    found = guard(start)
    broken = start.copy()
    way = broken.positions[1] - broken.positions[0]
    broken.positions[1] += 0.5 * way
    assert found.fault(broken) == (
        "the bond C1–H2 is broken: 1.63 Å (limit 1.53 Å, 1.09 Å in the start structure)"
    )
    stretched = start.copy()
    stretched.positions[1] += 0.35 * way
    assert found.fault(stretched) is None
    two = start + Atoms("H", positions=[start.positions[0] + [4.0, 0, 0]])
    own = guard(two)
    assert own.fault(two) is None
    two.positions[5] = two.positions[0] + [0, 0, 1.2]
    assert str(own.fault(two)).startswith(
        "C1–H6 are 1.20 Å apart (limit 1.28 Å), and not bonded in the start structure"
    )


def test_angles_bend() -> None:
    """Atoms that are bonded to one atom may come close: that is a vibration."""
    start = boxed("H2O")
    bent = start.copy()
    for atom in (1, 2):
        away = bent.positions[atom] - bent.positions[0]
        bent.positions[atom] = bent.positions[0] + np.array([0, away[1] * 0.4, -0.9])
    assert bent.get_distance(1, 2) < 0.74
    assert guard(start).fault(bent) is None


def test_periodic_images_and_an_atom_s_own() -> None:
    chain = Atoms("C", cell=[1.4, 10, 10], pbc=True)
    found = guard(chain)
    (one,) = found.place(chain)
    assert (one.bond.first, one.bond.second, one.image) == (0, 0, (1, 0, 0))
    longer = chain.copy()
    longer.set_cell([2.1, 10, 10])
    assert "C1–C1 is broken: 2.10 Å" in str(found.fault(longer))
    diamond = bulk("C", "diamond", a=3.567)
    found = guard(diamond)
    assert found.counts() == {("C", "C"): 4}  # all of them between the same two atoms
    images = {one.image for one in found.place(diamond)}
    assert len(images) == 4
    # a vacant image: the atom sits at one of its four neighbours
    moved = diamond.copy()
    moved.positions[1] += 0.5 * (moved.positions[1] - moved.positions[0])
    assert found.fault(moved) is not None


@settings(max_examples=40, deadline=None)
@given(
    shifts=st.lists(st.integers(-3, 3), min_size=9, max_size=9),
    turns=st.lists(st.integers(-1, 1), min_size=3, max_size=3),
)
def test_other_images_and_other_cell_vectors_are_the_same_crystal(
    shifts: list[int], turns: list[int]
) -> None:
    start = bulk("SiC", "zincblende", a=4.36) * (2, 1, 1)
    found = guard(start)
    moved = start.copy()
    matrix = np.eye(3, dtype=int)
    matrix[1, 0], matrix[2, 0], matrix[2, 1] = turns
    moved.positions[1:] += np.array(shifts).reshape(3, 3) @ start.cell.array
    moved.set_cell(matrix @ start.cell.array, scale_atoms=False)
    assert found.fault(moved) is None
    lengths = sorted(one.length for one in found.place(moved))
    assert lengths == pytest.approx(sorted(b.length for b in found.bonds))
    for one in found.place(moved):
        first, second = moved.positions[[one.bond.first, one.bond.second]]
        assert one.vector == pytest.approx(second + one.image @ moved.cell.array - first)


def test_pairs_and_atoms_are_left_out() -> None:
    start = boxed("CH4")
    broken = start.copy()
    broken.positions[1] += 2.0 * (start.positions[1] - start.positions[0])
    assert guard(start).fault(broken) is not None
    for left_out in ("C-H", "H–C", 2):
        found = guard(start, left_out)
        assert found.fault(broken) is None
    assert guard(start, 2).counts() == {("C", "H"): 3}
    assert guard(start, 3).fault(broken) is not None


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (0, "0: the structure has atoms 1 to 5"),
        (6, "6: the structure has atoms 1 to 5"),
        ("C", "'C': write a pair"),
        ("C-O", "'C-O': write a pair"),
        ("C-H-H", "'C-H-H': write a pair"),
    ],
)
def test_what_cannot_be_left_out(entry: str | int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        guard(boxed("CH4"), entry)


def test_pairs_that_are_nearly_bonded_may_become_bonded() -> None:
    """A strong hydrogen bond of 1.25 Å: not a bond, and no new one at 1.1 Å either."""
    start = Atoms("OHO", positions=[[0, 0, 0], [1.0, 0, 0], [2.25, 0, 0]], cell=[9, 9, 9], pbc=True)
    start += Atoms("CO", positions=[[0, 5, 0], [1.13, 5, 0]])
    found = guard(start)
    assert found.counts() == {("C", "O"): 1, ("H", "O"): 1}
    start.positions[1, 0] = 1.1
    assert found.fault(start) is None


def test_example_systems() -> None:
    counts = {}
    for path in sorted(Path(ROOT / "examples").glob("*/*.extxyz")):
        if path.stem not in ("test", "wide", "al_fumarate_wide"):
            counts[path.stem] = sum(guard(ase.io.read(path)).counts().values())
    assert counts == {"ice_xi": 8, "kcl": 0, "mil53_al": 46, "al_fumarate": 32, "urea": 14}
