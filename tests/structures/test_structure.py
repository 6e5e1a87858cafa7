"""Reading and checking structures, perturbations, clashes, fingerprints, cell multiples."""

from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from helpers.fakes import MIL53, crystal
from phasewalk.errors import InputError
from phasewalk.structures import structure

FRAME = 'Lattice="{cell}" Properties=species:S:1:pos:R:3'
CUBE = "4 0 0 0 4 0 0 0 4"


def changed(change: Callable[[Atoms], object]) -> Atoms:
    atoms = crystal()
    change(atoms)
    return atoms


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("empty.extxyz", "", "Empty file"),
        ("cut.extxyz", f"2\n{FRAME.format(cell=CUBE)}\nH 0 0 0\n", "expected 2"),
        ("odd.extxyz", f"1\n{FRAME.format(cell=CUBE)}\nXx 0 0 0\n", "Xx"),
        ("noise.txt", "hello\n", "cannot read"),
        ("noise.cif", "garbage\n", "cannot read"),
        ("molecule.xyz", "1\n\nH 0 0 0\n", "pbc is F F F"),
        ("no-atoms.extxyz", f"0\n{FRAME.format(cell=CUBE)}\n", "no atoms"),
        ("flat.extxyz", f"1\n{FRAME.format(cell='4 0 0 0 4 0 0 0 0')}\nH 0 0 0\n", "volume is 0"),
        ("nan.extxyz", f"1\n{FRAME.format(cell=CUBE)}\nH nan 0 0\n", "not finite"),
        ("nan-cell.extxyz", f"1\n{FRAME.format(cell='nan 0 0 0 4 0 0 0 4')}\nH 0 0 0\n", "finite"),
        ("dummy.extxyz", f"1\n{FRAME.format(cell=CUBE)}\nX 0 0 0\n", "no element"),
        ("left.extxyz", f"1\n{FRAME.format(cell='0 4 0 4 0 0 0 0 4')}\nH 0 0 0\n", "left-handed"),
        ("near.extxyz", f"2\n{FRAME.format(cell=CUBE)}\nC 0 0 0\nC 0 0 0.3\n", "0.30 Å apart"),
    ],
)
def test_what_is_no_structure_gets_one_line(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        structure.read_structure(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.cif"):
        with pytest.raises(InputError, match="no such file"):
            structure.read_structure(path)


def test_a_structure_is_read_bare_and_bit_for_bit(tmp_path: Path) -> None:
    atoms = changed(lambda a: a.rattle(0.01, seed=1))
    atoms.info["note"] = "x"
    atoms.set_velocities(np.ones((8, 3)))
    path = tmp_path / "two 'words'.traj"
    ase.io.write(path, [crystal(), atoms])
    found = structure.read_structure(Path(f"{path}@-1"))
    assert structure.fingerprint(found) == structure.fingerprint(atoms)
    assert found.info == {}
    assert not found.has("momenta")


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.positions.__setitem__((3, 1), np.nextafter(a.positions[3, 1], 99)),
        lambda a: a.cell.__setitem__((2, 0), 5e-324),
        lambda a: a.numbers.__setitem__(0, 19),
        lambda a: a.positions.__setitem__(slice(0, 2), a.positions[[1, 0]].copy()),
    ],
    ids=["position", "cell", "element", "order"],
)
def test_the_fingerprint_sees_every_bit(change: Callable[[Atoms], object]) -> None:
    assert structure.fingerprint(changed(change)) != structure.fingerprint(crystal())


def test_the_fingerprint_sees_nothing_else() -> None:
    def decorate(atoms: Atoms) -> None:
        atoms.info["energy"] = 1.0
        atoms.set_velocities(np.ones((8, 3)))
        atoms.numbers = atoms.numbers.astype("<i4")

    assert structure.fingerprint(changed(decorate)) == structure.fingerprint(crystal())


def test_species_are_sorted_and_single() -> None:
    assert structure.species([crystal(), crystal("KCl", 6.29)]) == ("Cl", "K", "Na")


def perturbed(seed: int, displacement_A: float = 0.1, strain: float = 0.06) -> Atoms:
    return structure.perturb(
        crystal(),
        np.random.default_rng(seed),
        displacement_A=displacement_A,
        strain=strain,
        min_distance_fraction=0.6,
    )


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    assert structure.fingerprint(perturbed(1)) == structure.fingerprint(perturbed(1))
    assert structure.fingerprint(perturbed(1)) != structure.fingerprint(perturbed(2))


@given(st.integers(0, 10_000))
def test_perturbations_stay_in_bounds_and_strain_is_symmetric(seed: int) -> None:
    moved, start = perturbed(seed), crystal()
    deformation = np.linalg.solve(start.cell.array, moved.cell.array)
    assert deformation == pytest.approx(deformation.T, abs=1e-12)
    assert np.abs(deformation - np.eye(3)).max() <= 0.06 + 1e-12
    shifts = moved.positions - start.positions @ deformation
    assert np.abs(shifts).max() <= 0.1 + 1e-12
    assert structure.clash(moved, 0.6) is None


def test_perturbations_fill_their_range() -> None:
    """Uniform in each of the six strains: a third beyond two thirds of the range."""
    draws = [perturbed(seed).cell.array / 5.64 - np.eye(3) for seed in range(150)]
    for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        values = np.array([draw[i, j] for draw in draws])
        assert np.mean(np.abs(values) > 0.04) == pytest.approx(1 / 3, abs=0.12)
        assert abs(values.mean()) < 0.012


def test_no_displacement_and_no_strain_is_the_structure() -> None:
    still = perturbed(1, displacement_A=0.0, strain=0.0)
    assert still.positions == pytest.approx(crystal().positions)


def test_the_input_is_not_changed() -> None:
    atoms = crystal()
    before = structure.fingerprint(atoms)
    structure.perturb(
        atoms,
        np.random.default_rng(1),
        displacement_A=0.1,
        strain=0.1,
        min_distance_fraction=0.5,
    )
    assert structure.fingerprint(atoms) == before


def dimer(distance: float) -> Atoms:
    """Two hydrogens; the sum of covalent radii is 0.62 Å."""
    return Atoms("H2", positions=[[1, 1, 1], [1, 1, 1 + distance]], cell=[6, 6, 6], pbc=True)


def test_clashes_are_drawn_again() -> None:
    """Many single draws clash, but what comes out never does."""
    atoms, limit = dimer(0.7), 0.9 * 0.62
    seeds, clashing = range(40), 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        rng.uniform(-0.0, 0.0, (3, 3))
        once = rng.uniform(-0.3, 0.3, (2, 3))
        first, second = atoms.positions + once
        clashing += bool(np.linalg.norm(second - first) < limit)
        moved = structure.perturb(
            atoms,
            np.random.default_rng(seed),
            displacement_A=0.3,
            strain=0.0,
            min_distance_fraction=0.9,
        )
        assert moved.get_distance(0, 1, mic=True) >= limit
    assert clashing > 3


def test_no_draw_without_a_clash_is_an_error() -> None:
    with pytest.raises(InputError, match=r"200 draws .*H1–H2 are .* Å apart.*displacement_A"):
        structure.perturb(
            dimer(0.3),
            np.random.default_rng(1),
            displacement_A=0.01,
            strain=0.0,
            min_distance_fraction=0.9,
        )


def test_a_clash_across_the_boundary_is_seen() -> None:
    atoms = Atoms("H2", positions=[[0, 0, 0.1], [0, 0, 5.9]], cell=[6, 6, 6], pbc=True)
    found = structure.clash(atoms, 0.9)
    assert found == "H1–H2 are 0.20 Å apart (limit 0.56 Å, 0.9 × the sum of covalent radii)"


def test_the_worst_clash_is_the_one_that_is_named() -> None:
    atoms = Atoms(
        "H4",
        positions=[[0, 0, 0], [0, 0, 0.4], [3, 3, 3], [3, 3, 3.2]],
        cell=[6, 6, 6],
        pbc=True,
    )
    assert str(structure.clash(atoms, 0.9)).startswith("H3–H4 are 0.20 Å")


def test_the_same_crystal_in_a_doubled_cell_counts_double() -> None:
    mil53 = structure.read_structure(MIL53)
    assert len(mil53) == 38
    single = structure.cell_multiple(mil53)
    assert single == 1
    assert structure.cell_multiple(mil53.repeat((1, 1, 2))) == 2
    assert structure.cell_multiple(mil53.repeat((2, 2, 1))) == 4


def test_a_disordered_structure_is_one_cell() -> None:
    assert structure.cell_multiple(perturbed(1, displacement_A=0.5, strain=0.0)) == 1


def test_a_difference_is_that_of_the_atoms_alone() -> None:
    """Neither a translation, nor other images, nor the strain, which is told apart."""
    atoms = crystal()
    other = atoms.copy()
    other.positions[0] += [0.4, 0.0, 0.0]
    expected = 0.4 * np.sqrt(7.0) / 8.0  # of eight atoms, without the centre's own way
    assert structure.difference(other, atoms) == (pytest.approx(expected), pytest.approx(0.0))
    other.positions += [3.0, -20.0, 0.7]
    other.positions[3] += other.cell.array[1] - 2 * other.cell.array[2]
    assert structure.difference(other, atoms)[0] == pytest.approx(expected)
    strain = np.array([[0.02, 0.01, 0.0], [0.01, 0.0, 0.0], [0.0, 0.0, -0.03]])
    other = atoms.copy()
    other.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    rmsd, largest = structure.difference(other, atoms)
    assert (rmsd, largest) == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.03))


@pytest.mark.parametrize("seed", range(5))
def test_atoms_that_are_apart_have_no_neighbours(seed: int) -> None:
    """In skewed cells, with atoms outside, and with cells that are too narrow to say."""
    random, seen = np.random.default_rng(seed), list[tuple[bool, bool]]()
    for _ in range(100):
        cell = random.uniform(4, 12) * (np.eye(3) + random.uniform(-0.4, 0.4, (3, 3)))
        positions = random.uniform(-1, 2, (random.integers(1, 6), 3)) @ cell
        atoms = Atoms(numbers=[8] * len(positions), positions=positions, cell=cell, pbc=True)
        radii = random.uniform(0, 1.2, len(atoms))
        wide = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0).max() > 4.0 * radii.max()
        alone = len(neighbor_list("i", atoms, radii)) == 0
        found = structure.apart(atoms, radii)
        assert found == (alone and wide)
        seen.append((found, wide))
    assert {(True, True), (False, True), (False, False)} == set(seen)
