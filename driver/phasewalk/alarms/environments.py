"""What surrounds each atom, as numbers that do not depend on orientation, origin or order.

For each element of the neighbours and each of a few distances there are three numbers: how many
neighbours are at about that distance (Gaussians, as in the radial symmetry functions of Behler,
J. Chem. Phys. 134, 074106 (2011)), and the lengths of the sums of their first and second spherical
harmonics, which say how they are arranged (the diagonal of the power spectrum of Bartók et al.,
Phys. Rev. B 87, 184115 (2013), for l ≤ 2). All fade to zero at the cutoff of the model. It costs
one pass over the pairs of neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

SHELLS = 8
"""Number of distances, from `NEAREST_A` to `MARGIN_A` below the cutoff."""
NEAREST_A, MARGIN_A = 0.8, 0.3
WIDTH = 0.7
"""Standard deviation of the Gaussians, × the space between the distances."""
SOFT = 0.01
"""Added to the squared lengths (² of it), whose square root has no slope at zero otherwise."""


@dataclass(frozen=True)
class Surroundings:
    """The environments of the atoms of a frame.

    Attributes:
        kinds: (N,) number of each atom's element in the list of elements.
        environments: (N, 3 × shells × elements) descriptors, without unit.
        closest: (elements, elements) distance of the closest pair, Å; infinite if there is none
            within the cutoff; symmetric.
        pairs: (elements, elements, 2) that pair's atoms, from 0.
    """

    kinds: Whole
    environments: Array
    closest: Array
    pairs: Whole


def descriptor_size(elements: Sequence[str]) -> int:
    """Number of numbers that describe an environment."""
    return 3 * SHELLS * len(elements)


def surroundings(atoms: Atoms, elements: Sequence[str], cutoff_A: float) -> Surroundings:
    """The environments of all atoms of a frame.

    Args:
        atoms: the frame, periodic; all its elements are in the list.
        elements: element symbols.
        cutoff_A: of the model, Å.
    """
    from matscipy.neighbours import neighbour_list
    from scipy.sparse import csr_array

    count = len(elements)
    kinds = np.array([elements.index(one) for one in atoms.get_chemical_symbols()], dtype=np.int64)
    first, second, lengths, vectors = neighbour_list("ijdD", atoms, cutoff_A)
    edges = len(first)
    places = first.astype(np.int64) * count + kinds[second]
    sums = csr_array(
        (np.ones(edges), (places, np.arange(edges))), shape=(len(atoms) * count, edges)
    )
    shells = _shells(lengths, cutoff_A)
    angles = _harmonics(vectors / np.maximum(lengths, 1e-9)[:, None])
    parts = angles.shape[1]
    terms = (shells[:, :, None] * angles[:, None, :]).reshape(edges, SHELLS * parts)
    found = (sums @ terms).reshape(len(atoms), count * SHELLS, parts)
    squares = [(found[..., part] ** 2).sum(axis=-1) for part in (slice(1, 4), slice(4, 9))]
    arranged = [np.sqrt(square + SOFT**2) - SOFT for square in squares]
    environments = np.concatenate([found[..., 0], *arranged], axis=1)
    closest, pairs = _closest(kinds, first, second, lengths, count)
    return Surroundings(kinds, environments, closest, pairs)


def farthest(points: Array, count: int, known: Array) -> list[int]:
    """Choose points that are far from known ones and from each other (farthest-point selection).

    Args:
        points: (n, d) points to choose from.
        count: maximum number of points.
        known: (m, d) known points; without any, the first point is chosen first.

    Returns:
        Their numbers, in the order of choice; points that equal a chosen one are not chosen.
    """
    from scipy.spatial.distance import cdist

    if not len(points):
        return []
    gaps = cdist(points, known).min(axis=1) if len(known) else np.full(len(points), np.inf)
    chosen: list[int] = []
    while len(chosen) < count and gaps.max() > 0.0:
        chosen.append(int(gaps.argmax()))
        gaps = np.minimum(gaps, np.linalg.norm(points - points[chosen[-1]], axis=1))
        gaps[chosen] = 0.0
    return chosen


def _shells(lengths: Array, cutoff_A: float) -> Array:
    """(pairs, shells) Gaussians of the distances, which fade to zero at the cutoff."""
    centres = np.linspace(NEAREST_A, cutoff_A - MARGIN_A, SHELLS)
    width = WIDTH * (centres[1] - centres[0])
    fading = 0.5 * (1.0 + np.cos(np.pi * lengths / cutoff_A))
    found: Array = np.exp(-0.5 * ((lengths[:, None] - centres) / width) ** 2) * fading[:, None]
    return found


def _harmonics(directions: Array) -> Array:
    """(pairs, 9) real spherical harmonics of l ≤ 2, of which each l has sum of squares 1."""
    x, y, z = directions.T
    root = np.sqrt(3.0)
    second = (x * y, x * z, y * z, (x**2 - y**2) / 2.0, (3.0 * z**2 - 1.0) / (2.0 * root))
    return np.stack([np.ones_like(x), x, y, z, *(root * one for one in second)], axis=1)


def _closest(
    kinds: Whole, first: Whole, second: Whole, lengths: Array, count: int
) -> tuple[Array, Whole]:
    """The closest pair of each two elements; see `Surroundings`."""
    closest = np.full((count, count), np.inf)
    pairs = np.zeros((count, count, 2), dtype=np.int64)
    groups = kinds[first] * count + kinds[second]
    order = np.lexsort((lengths, groups))
    found, starts = np.unique(groups[order], return_index=True)
    for group, edge in zip(found, order[starts], strict=True):
        closest[divmod(group, count)] = lengths[edge]
        pairs[divmod(group, count)] = first[edge], second[edge]
    return closest, pairs
