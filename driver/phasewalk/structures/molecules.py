"""Make molecules whole for drawing: move bonded atoms to the same side of periodic boundaries.

Metals stay in the cell and do not count as bonded, so that the linkers of a framework are whole
molecules and salts and metals are not moved.
"""

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

from .structure import apart

Array = NDArray[np.float64]
NON_METALS = frozenset(
    [*range(1, 3), *range(5, 11), *range(14, 19), *range(32, 37), *range(52, 55), 85, 86]
)
STRETCH = 1.2
"""Atoms are bonded if they are closer than this × the sum of their covalent radii."""


def whole(atoms: Atoms) -> Array:
    """(N, 3) positions with whole molecules whose centers are in the cell; Å.

    Atoms bonded to their own periodic image (chains, networks) are only wrapped into the cell.
    """
    wrapped = atoms.copy()
    wrapped.wrap()
    positions: Array = wrapped.positions.copy()
    if not wrapped.pbc.any():
        return positions
    bonds = _bonds(wrapped)
    seen = np.zeros(len(wrapped), dtype=bool)
    inverse = np.linalg.pinv(wrapped.cell.array)
    for start in range(len(wrapped)):
        if seen[start]:
            continue
        images, closed = _molecule(start, bonds)
        members = list(images)
        seen[members] = True
        if len(members) == 1 or not closed:
            continue
        shifts = np.array([images[i] for i in members]) @ wrapped.cell.array
        moved = positions[members] + shifts
        back = np.floor(moved.mean(axis=0) @ inverse + 1e-9) * wrapped.pbc
        positions[members] = moved - back @ wrapped.cell.array
    return positions


def _bonds(atoms: Atoms) -> list[list[tuple[int, tuple[int, int, int]]]]:
    """For each atom its bonded neighbours, each with its image of the cell."""
    from ase.neighborlist import neighbor_list

    reach = [STRETCH * covalent_radii[z] if z in NON_METALS else 0.0 for z in atoms.numbers]
    found: list[list[tuple[int, tuple[int, int, int]]]] = [[] for _ in reach]
    bonding = np.flatnonzero(reach)
    among, radii = atoms[bonding], np.array(reach)[bonding]
    if len(bonding) == 0 or apart(among, radii):
        return found
    first, second, images = neighbor_list("ijS", among, radii)
    for i, j, image in zip(bonding[first], bonding[second], images.tolist(), strict=True):
        found[int(i)].append((int(j), tuple(image)))
    return found


def _molecule(
    start: int, bonds: list[list[tuple[int, tuple[int, int, int]]]]
) -> tuple[dict[int, tuple[int, int, int]], bool]:
    """The bonded atoms with their images, and whether none is bonded to its own image."""
    images, waiting, closed = {start: (0, 0, 0)}, [start], True
    while waiting:
        atom = waiting.pop(0)
        here = images[atom]
        for other, image in bonds[atom]:
            there = (here[0] + image[0], here[1] + image[1], here[2] + image[2])
            if other not in images:
                images[other] = there
                waiting.append(other)
            elif images[other] != there:
                closed = False
    return images, closed
