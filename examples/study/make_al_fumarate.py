#!/usr/bin/env python3
"""Make aluminium fumarate from the MIL-53(Al) of the example, and relax it with GFN1-xTB.

Al(OH)(O2C-CH=CH-CO2), Basolite A520, has the wine-rack topology of MIL-53. The chains of Al, OH and
carboxylates are kept; each C6H4 becomes a trans CH=CH in its plane, and the two lattice vectors
that the linkers cross get shorter by the difference. Units: Å, eV.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write
from ase.neighborlist import natural_cutoffs, neighbor_list

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "mil53_al"))
from make_structure import reduced, relax

EXAMPLE = Path(__file__).resolve().parents[1] / "mil53_al"
SHORTER = 1.9  # from carboxylate C to carboxylate C
ALKENE = (("C", 0.51, 0.43), ("H", 0.29, 1.50))  # from its centre: along the linker, across it


def fumarate(atoms: Atoms) -> Atoms:
    """The unrelaxed primitive cell, from that of MIL-53(Al)."""
    pairs = list(zip(*neighbor_list("ijD", atoms, natural_cutoffs(atoms, mult=1.15)), strict=True))
    ends = {i for i, j, _ in pairs if (atoms.symbols[i], atoms.symbols[j]) == ("C", "O")}
    rings = {i for i, symbol in enumerate(atoms.symbols) if symbol == "C"} - ends
    rings |= {i for i, j, _ in pairs if atoms.symbols[i] == "H" and j in rings}

    def reached(found: dict[int, np.ndarray], kept: set[int]) -> dict[int, np.ndarray]:
        """Unwrapped positions of the atoms in `kept` to which bonds lead from those found."""
        new = {j: found[i] + v for i, j, v in pairs if i in found and j in kept - set(found)}
        return reached(found | new, kept) if new else found

    chain = reached({0: atoms.positions[0]}, set(range(len(atoms))) - rings)
    made = Atoms([atoms.symbols[i] for i in chain], list(chain.values()))
    axis = int(np.argmin(atoms.cell.lengths()))  # of the chains; in the planes of the rings
    across = atoms.cell[axis] / np.linalg.norm(atoms.cell[axis])
    whole, vectors = [np.eye(3)[axis]], [atoms.cell[axis]]
    for i in sorted(ends):
        linker = reached({i: chain[i]}, rings | ends)
        (j,) = ends & set(linker) - {i}
        if i < j:
            along = (linker[j] - linker[i]) / np.linalg.norm(linker[j] - linker[i])
            whole.append(atoms.cell.scaled_positions([linker[j] - chain[j]])[0].round())
            vectors.append(linker[j] - chain[j] - SHORTER * along)
            centre = (linker[i] + linker[j] - SHORTER * along) / 2
            for symbol, away, over in ALKENE:
                offset = over * across - away * along
                made += Atoms([symbol] * 2, [centre + offset, centre - offset])
    made.set_cell(np.linalg.solve(whole, vectors))
    return reduced(made)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="logm result may be inaccurate")
    start = fumarate(read(EXAMPLE / "mil53_al.extxyz"))
    if not relax(start, fmax=0.005, max_steps=400, logfile="-"):
        raise SystemExit("not converged in 400 steps")
    write(Path(__file__).with_name("al_fumarate.extxyz"), reduced(start), format="extxyz")
