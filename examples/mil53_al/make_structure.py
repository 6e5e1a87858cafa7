#!/usr/bin/env python3
"""Build MIL-53(Al), Al(OH)(O2C-C6H4-CO2), and relax it with GFN1-xTB.

The open form has space group Imma (No. 74) with a = 6.6085, b = 16.675, c = 12.813 A.  The
fractional coordinates below follow from standard bond lengths.  The body-centred cell of 76
atoms is reduced to its 38-atom primitive cell, atoms and cell are relaxed together, and the cell
is written as a right-handed lower triangle (LAMMPS's form) with small tilts.

Units: A, eV, GPa.
"""

from __future__ import annotations

import argparse
import warnings
from itertools import permutations
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.geometry import minkowski_reduce
from ase.io import write
from ase.optimize import LBFGS
from ase.spacegroup import crystal
from ase.units import GPa
from numpy.typing import NDArray
from tblite.ase import TBLite

CELL = (6.6085, 16.675, 12.813, 90.0, 90.0, 90.0)  # a, b, c in A; angles in degrees
SITES: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("Al", (0.25, 0.25, 0.75)),
    ("O", (0.0, 0.25, 0.815)),  # bridging hydroxide
    ("H", (0.0, 0.25, 0.891)),
    ("C", (0.0, 0.1370, 0.6369)),  # carboxylate
    ("C", (0.0, 0.0666, 0.5665)),  # ring, on the axis
    ("O", (0.1695, 0.1664, 0.6664)),  # carboxylate
    ("C", (0.1831, 0.0333, 0.5333)),  # ring CH
    ("H", (0.3253, 0.0590, 0.5589)),
)
N_ATOMS = 38


def primitive_cell() -> Atoms:
    """Return the unrelaxed 38-atom primitive cell."""
    symbols = [symbol for symbol, _ in SITES]
    basis = [position for _, position in SITES]
    atoms = crystal(symbols, basis, spacegroup=74, cellpar=CELL, primitive_cell=True)
    if len(atoms) != N_ATOMS:
        raise RuntimeError(f"expected {N_ATOMS} atoms in the primitive cell, got {len(atoms)}")
    return reduced(atoms)


def reduced(atoms: Atoms) -> Atoms:
    """Return the same crystal in a Minkowski-reduced, right-handed, lower-triangular cell.

    Of the six orders of the three vectors, the one with the smallest tilts is taken.
    """
    vectors, _ = minkowski_reduce(atoms.cell.array)
    choices = [_lower_triangular(atoms, vectors[list(order)]) for order in permutations(range(3))]
    return min(choices, key=lambda choice: round(max(abs(tilt) for tilt in tilts(choice)), 6))


def _lower_triangular(atoms: Atoms, vectors: NDArray[np.float64]) -> Atoms:
    """Return the crystal of `atoms` in the lattice `vectors` (A), rotated to a lower triangle."""
    sign = 1.0 if np.linalg.det(vectors) > 0 else -1.0
    result = Atoms(atoms.symbols, atoms.positions, cell=sign * vectors, pbc=True)
    standard, _ = result.cell.standard_form()
    result.set_cell(standard, scale_atoms=True)
    result.wrap()
    return result


def tilts(atoms: Atoms) -> tuple[float, float, float]:
    """Return LAMMPS's tilt factors xy/lx, xz/lx, yz/ly of a lower-triangular cell."""
    cell = atoms.cell.array
    return cell[1, 0] / cell[0, 0], cell[2, 0] / cell[0, 0], cell[2, 1] / cell[1, 1]


def relax(atoms: Atoms, fmax: float, max_steps: int, logfile: str | None) -> bool:
    """Relax atoms and cell in place with GFN1-xTB; fmax in eV/A.  True when converged."""
    atoms.calc = TBLite(method="GFN1-xTB", verbosity=0)
    return bool(LBFGS(FrechetCellFilter(atoms), logfile=logfile).run(fmax=fmax, steps=max_steps))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build and relax MIL-53(Al) with GFN1-xTB.")
    here = Path(__file__).resolve().parent
    parser.add_argument("-o", "--output", type=Path, default=here / "mil53_al.extxyz")
    parser.add_argument("--fmax", type=float, default=0.005, help="largest force left, eV/A")
    parser.add_argument("--max-steps", type=int, default=400, help="most relaxation steps")
    args = parser.parse_args()

    warnings.filterwarnings("ignore", message="logm result may be inaccurate")
    atoms = primitive_cell()
    print(f"built {atoms.get_chemical_formula()}: {atoms.get_volume():.1f} A^3")
    if not relax(atoms, args.fmax, args.max_steps, logfile="-"):
        raise SystemExit(f"not converged in {args.max_steps} steps; raise --max-steps")
    pressure = -atoms.get_stress()[:3].mean() / GPa
    start = reduced(atoms)
    write(args.output, start, format="extxyz")
    print(f"wrote {args.output}: {start.get_volume():.1f} A^3, pressure {pressure:.3f} GPa")
    print("tilts xy/lx, xz/lx, yz/ly: " + ", ".join(f"{tilt:.3f}" for tilt in tilts(start)))


if __name__ == "__main__":
    main()
