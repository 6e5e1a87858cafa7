"""Factors and signs against numbers worked out by hand; round trips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from phasewalk import units


def test_a_compressed_box_has_negative_stress_in_voigt_order() -> None:
    # xx yy zz xy xz yz in bar; 1 eV/Å³ is 1602176.5 bar
    pressure = 1602176.5 * np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    expected = [-1.0, -2.0, -3.0, -6.0, -5.0, -4.0]  # xx yy zz yz xz xy
    assert units.stress_from_lammps_pressure(pressure) == pytest.approx(expected, rel=1e-12)


def test_stress_of_several_frames_at_once() -> None:
    pressure = np.arange(12.0).reshape(2, 6)
    rows = [units.stress_from_lammps_pressure(row) for row in pressure]
    assert (units.stress_from_lammps_pressure(pressure) == rows).all()


def test_pressure_is_the_negative_mean_of_the_diagonal() -> None:
    stress = np.array([-0.01, -0.02, -0.03, 9.0, 9.0, 9.0])
    assert units.pressure_GPa(stress) == pytest.approx(0.02 * 160.21766, rel=1e-6)
    assert np.shape(units.pressure_GPa(np.stack([stress, stress]))) == (2,)


def test_megapascal_are_ten_bar() -> None:
    assert units.bar_from_MPa(0.1) == pytest.approx(1.0)
    assert units.bar_from_MPa(-50.0) == pytest.approx(-500.0)


def test_velocity_of_one_angstrom_per_picosecond() -> None:
    # ASE's time unit is Å·sqrt(amu/eV) = 10.1805 fs, so 1 Å/ps is 0.01018
    velocity = units.velocities_from_lammps(np.array([[1.0, 0.0, -2.0]]))
    assert velocity == pytest.approx(np.array([[0.0101805, 0.0, -0.0203610]]), rel=1e-5)


def test_kinetic_energy_survives_the_conversion() -> None:
    # one amu at 1 Å/ps has 1/2 · 1.6605e-27 kg · (100 m/s)² = 8.3027e-24 J = 5.1821e-5 eV
    velocity = units.velocities_from_lammps(np.array([[1.0, 0.0, 0.0]]))
    assert 0.5 * float((velocity**2).sum()) == pytest.approx(5.1821e-5, rel=1e-4)


@given(arrays(float, (3, 3), elements=st.floats(-1e6, 1e6)))
def test_velocities_there_and_back(velocities: np.ndarray) -> None:
    there = units.velocities_to_lammps(velocities)
    assert units.velocities_from_lammps(there) == pytest.approx(velocities, rel=1e-14, abs=1e-300)
