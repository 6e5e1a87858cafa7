"""Radial distributions of an ideal crystal and of an ideal gas."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from phasewalk.analyses.frames import Frames
from phasewalk.analyses.pairs import WIDTH_A, Radial, radial

A = 5.64


def still(atoms: Atoms, count: int = 1) -> Frames:
    """Frames of atoms that do not move."""
    return Frames(
        np.arange(count),
        np.repeat(atoms.cell.array[None], count, axis=0),
        np.repeat(atoms.get_scaled_positions()[None], count, axis=0),
        np.array(atoms.get_chemical_symbols()),
    )


def shell(found: list[Radial], pair: tuple[str, str], distance: float) -> tuple[float, float]:
    """g at a distance, and the number of neighbours up to there."""
    (one,) = [each for each in found if each.pair == pair]
    index = int(distance / WIDTH_A)
    return float(one.values[index]), float(one.neighbours[index])


@pytest.mark.parametrize("cubic", [True, False])
def test_shells_of_rock_salt(cubic: bool) -> None:
    """The primitive cell is tilted, and much smaller than the cutoff."""
    found = radial([still(bulk("NaCl", "rocksalt", a=A, cubic=cubic))])
    assert [one.pair for one in found] == [("Cl", "Cl"), ("Cl", "Na"), ("Na", "Na")]
    for pair, distance, neighbours in (
        (("Cl", "Na"), A / 2, 6),
        (("Cl", "Na"), A / 2 * 3**0.5, 6 + 8),
        (("Na", "Na"), A / 2**0.5, 12),
        (("Cl", "Cl"), A, 12 + 6),
    ):
        peak, count = shell(found, pair, distance)
        assert count == pytest.approx(neighbours)
        assert peak > 5.0
    between = found[1].values[(found[1].distances > 3.0) & (found[1].distances < 4.8)]
    assert not between.any()


def test_an_ideal_gas_has_one_everywhere() -> None:
    rng = np.random.default_rng(1)
    count, atoms = 40, 300
    cell = np.array([[20.0, 0.0, 0.0], [7.0, 18.0, 0.0], [-5.0, 3.0, 22.0]])
    gas = Frames(
        np.arange(count),
        np.repeat(cell[None], count, axis=0),
        rng.uniform(-2.0, 3.0, size=(count, atoms, 3)),  # images do not matter
        np.array(["Ar"] * 200 + ["Ne"] * 100),
    )
    for one in radial([gas]):
        far = one.distances > 2.0
        pulls = (one.values[far] - 1.0) / one.errors[far]
        assert 0.7 < np.sqrt(np.mean(pulls**2)) < 1.5
        others = {"Ar": 200, "Ne": 100}[one.pair[1]] - (one.pair[0] == one.pair[1])
        sphere = 4.0 / 3.0 * np.pi * 8.0**3 / np.linalg.det(cell)
        assert one.neighbours[-1] == pytest.approx(others * sphere, rel=0.02)


def test_few_frames_give_no_error() -> None:
    (one, *_) = radial([still(bulk("NaCl", "rocksalt", a=A), count=3)])
    assert np.isnan(one.errors).all()
