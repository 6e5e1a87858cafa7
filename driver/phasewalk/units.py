"""LAMMPS `metal` units ↔ the one convention inside phasewalk: the only conversion factors.

Inside: Å, eV, eV/Å, amu, stress in eV/Å³ (tension positive) in Voigt order xx, yy, zz, yz, xz, xy,
cells as row vectors, ASE velocities (Å / ASE time unit).
LAMMPS metal: Å, ps, bar, velocities in Å/ps, pressure positive when compressed, order xx, yy, zz,
xy, xz, yz (LAMMPS manual, `units` and `compute pressure`).
"""

import numpy as np
from ase import units as ase_units
from numpy.typing import NDArray

Array = NDArray[np.float64]

EV_PER_A3_PER_BAR = 1.0 / 1.6021765e6
"""LAMMPS's own constant (`force->nktv2p` of metal units), so that a round trip is exact."""
GPA_PER_EV_PER_A3 = 1.0 / float(ase_units.GPa)
MPA_PER_BAR = 0.1
FS_PER_PS = 1000.0
KJ_PER_MOL_PER_EV = 96.48530749925792
"""PLUMED's eV (PLUMED manual, UNITS)."""
KJ_PER_MOL = {
    "KJ/MOL": 1.0,
    "KCAL/MOL": 4.184,
    "J/MOL": 1e-3,
    "EV": KJ_PER_MOL_PER_EV,
    "HA": 2625.499638,
}
"""PLUMED's units of energy, by upper-case name (PLUMED manual, UNITS)."""
BOLTZMANN_KJ_PER_MOL_K = 0.00831446261815324

_LAMMPS_TO_VOIGT = (0, 1, 2, 5, 4, 3)


def stress_from_lammps_pressure(pressure_bar: Array) -> Array:
    """Six pressure components of LAMMPS (bar; xx yy zz xy xz yz) → Voigt stress (eV/Å³).

    Shape (..., 6) → (..., 6).
    """
    p = np.asarray(pressure_bar, dtype=float)
    return -p[..., _LAMMPS_TO_VOIGT] * EV_PER_A3_PER_BAR


def velocities_from_lammps(velocities_A_per_ps: Array) -> Array:
    """(N, 3) velocities, Å/ps → ASE's Å/(Å·sqrt(amu/eV))."""
    per_ps = FS_PER_PS * float(ase_units.fs)
    return np.asarray(velocities_A_per_ps, dtype=float) / per_ps


def velocities_to_lammps(velocities: Array) -> Array:
    """(N, 3) velocities, ASE's Å/(Å·sqrt(amu/eV)) → Å/ps."""
    per_ps = FS_PER_PS * float(ase_units.fs)
    return np.asarray(velocities, dtype=float) * per_ps


def pressure_GPa(stress: Array) -> float | Array:
    """Mean pressure (GPa, positive when compressed) of Voigt stress (..., 6) in eV/Å³."""
    p = -np.asarray(stress, dtype=float)[..., :3].mean(axis=-1) * GPA_PER_EV_PER_A3
    return float(p) if p.ndim == 0 else p


def bar_from_MPa(pressure_MPa: float) -> float:
    """Pressure, MPa → bar."""
    return pressure_MPa / MPA_PER_BAR


def energy_from_hartree(energy: float) -> float:
    """Energy, hartree → eV."""
    return energy * float(ase_units.Hartree)


def forces_from_hartree_per_bohr(forces: Array) -> Array:
    """(N, 3) forces, hartree/bohr → eV/Å."""
    return np.asarray(forces, dtype=float) * float(ase_units.Hartree / ase_units.Bohr)


def stress_from_cp2k(tensor: Array, unit: str) -> Array:
    """(3, 3) stress tensor of CP2K (GPa or bar; positive when compressed) → Voigt, eV/Å³.

    CP2K counts as pressures are: the opposite of what its name says.
    """
    factor = float(ase_units.GPa) * {"GPa": 1.0, "bar": 1e-4}[unit]
    return -factor * np.asarray(tensor, dtype=float)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
