"""Cells over time, in one and the same choice of vectors.

LAMMPS exchanges the vectors of a strongly tilted cell for others of the same lattice. Strains and
displacements need the former ones.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def exchanges(cells: Array) -> Array:
    """(n, 3, 3) integer matrices M of (n, 3, 3) cells: cell = M @ (cell in the first vectors)."""
    found = np.broadcast_to(np.eye(3), cells.shape).copy()
    if len(cells) < 2:
        return found
    changes = np.rint(cells[1:] @ np.linalg.inv(cells[:-1]))
    valid = np.isclose(np.linalg.det(changes), 1.0)
    for n in np.flatnonzero(valid & (changes != np.eye(3)).any(axis=(1, 2))):
        found[n + 1 :] = changes[n] @ found[n]
    return found


def steady(cells: Array) -> Array:
    """(n, 3, 3) cells in the vectors of the first one, Å."""
    same: Array = np.linalg.solve(exchanges(cells), cells).astype(np.float64)
    return same


def parameters(cells: Array) -> Array:
    """(n, 6) lengths a, b, c (Å) and angles α, β, γ (degrees) of (n, 3, 3) cells."""
    lengths = np.linalg.norm(cells, axis=2)
    cosines = [
        (cells[:, i] * cells[:, j]).sum(axis=1) / (lengths[:, i] * lengths[:, j])
        for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    angles = np.degrees(np.arccos(np.clip(np.stack(cosines, axis=1), -1.0, 1.0)))
    found: Array = np.concatenate([lengths, angles], axis=1)
    return found
