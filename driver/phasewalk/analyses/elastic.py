"""Elastic constants from the fluctuations of the cell at constant pressure and temperature.

Isothermal bulk modulus: K = kT ⟨V⟩ / var(V). Stiffness: the inverse of the compliance
S_ij = ⟨V⟩ cov(ε_i, ε_j) / kT (Parrinello, Rahman, J. Chem. Phys. 76, 2662 (1982)), with the
Lagrangian strain ε relative to the mean cell, in Voigt order, shears doubled. ε does not depend on
the orientation of the cell, so that LAMMPS's lower-triangular cells are sufficient. Under a
pressure these are the stress-strain coefficients, not second derivatives of the energy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..units import BOLTZMANN_KJ_PER_MOL_K, GPA_PER_EV_PER_A3, KJ_PER_MOL_PER_EV
from .averages import Average, average

Array = NDArray[np.float64]

PER_CONSTANT = 10
"""Minimum number of independent samples for each of the six strains, for the tensor."""
BLOCKS = 20
"""Number of blocks that are left out in turn for its error."""
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class Stiffness:
    """Elastic constants in Voigt order xx, yy, zz, yz, xz, xy, GPa.

    Attributes:
        constants: (6, 6) C_ij; NaN if there are too few samples.
        errors: (6, 6) their standard errors.
        independent: number of independent samples of the strain that has the fewest; 0 if not all
            strains occur.
    """

    constants: Array
    errors: Array
    independent: float

    @property
    def known(self) -> bool:
        """Whether there are enough samples."""
        return bool(np.isfinite(self.constants).all())


def bulk_modulus(volumes: Sequence[Array], temperature_K: float) -> Average:
    """Isothermal bulk modulus, GPa.

    Args:
        volumes: for each walker, (n,) in equilibrium, Å³.
        temperature_K: of the thermostat.
    """
    none = [0.0] * len(volumes)
    volume = average(volumes, discard=none)
    squares = average([(one - volume.mean) ** 2 for one in volumes], discard=none)
    independent = min(volume.independent, squares.independent)
    if not 1.0 < independent < math.inf:
        return Average(math.nan, math.nan, 0.0)
    variance = squares.mean * volume.independent / (volume.independent - 1.0)
    modulus = _kT(temperature_K) * volume.mean / variance * GPA_PER_EV_PER_A3
    return Average(modulus, modulus * squares.error / squares.mean, independent)


def stiffness(cells: Sequence[Array], temperature_K: float) -> Stiffness:
    """The isothermal elastic constants.

    Args:
        cells: for each walker, (n, 3, 3) in equilibrium and in the same vectors, Å.
        temperature_K: of the thermostat.
    """
    everything = np.concatenate(cells)
    mean = everything.mean(axis=0)
    volume, kT = abs(float(np.linalg.det(mean))), _kT(temperature_K)
    each = [_strains(one, mean) for one in cells]
    none = [0.0] * len(each)
    independent = min(
        average([one[:, i] for one in each], discard=none).independent for i in range(6)
    )
    strains = np.concatenate(each)
    if len(strains) < 7 or np.linalg.matrix_rank(np.cov(strains.T)) < 6:
        independent = 0.0
    if independent < 6 * PER_CONSTANT:
        unknown = np.full((6, 6), math.nan)
        return Stiffness(unknown, unknown, independent)

    def inverted(some: Array) -> Array:
        compliance: Array = volume / kT * np.cov(some.T)
        found: Array = np.linalg.inv(compliance).astype(np.float64) * GPA_PER_EV_PER_A3
        return found

    parts = np.array_split(np.arange(len(strains)), BLOCKS)
    without = np.array([inverted(np.delete(strains, part, axis=0)) for part in parts])
    scatter = ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    errors = np.sqrt(scatter * (BLOCKS - 1) / BLOCKS)  # jackknife
    return Stiffness(inverted(strains), errors, independent)


def _strains(cells: Array, mean: Array) -> Array:
    """(n, 6) strains of cells."""
    gradient = np.linalg.inv(mean) @ cells
    strain = (gradient @ np.swapaxes(gradient, 1, 2) - np.eye(3)) / 2.0
    columns = [strain[:, i, j] * (1.0 if i == j else 2.0) for i, j in _VOIGT]
    found: Array = np.stack(columns, axis=1)
    return found


def _kT(temperature_K: float) -> float:
    """Thermal energy, eV."""
    return BOLTZMANN_KJ_PER_MOL_K * temperature_K / KJ_PER_MOL_PER_EV
