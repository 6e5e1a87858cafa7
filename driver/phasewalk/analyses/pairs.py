"""Radial distribution functions of pairs of elements.

g(r) is the number of pairs at a distance, relative to that of uniformly distributed atoms. All
periodic images are counted, so that r may exceed half of the cell.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from .frames import Frames

Array = NDArray[np.float64]

CUTOFF_A = 8.0
WIDTH_A = 0.05
"""Width of the bins."""
MOST_ATOMS = 200_000
"""Maximum number of atoms of all frames that are used; at least `BLOCKS` frames are."""
BLOCKS = 10
"""Number of parts of the frames whose scatter gives the error."""


@dataclass(frozen=True)
class Radial:
    """The radial distribution function of two elements.

    Attributes:
        pair: the elements.
        distances: (bins,) centres of the bins, Å.
        values: (bins,) g(r).
        errors: (bins,) standard errors; NaN if there are too few frames.
        neighbours: (bins,) mean number of atoms of the second element around one of the first, up
            to the end of each bin.
        frames: number of frames used.
    """

    pair: tuple[str, str]
    distances: Array
    values: Array
    errors: Array
    neighbours: Array
    frames: int


def radial(walks: Sequence[Frames], cutoff_A: float = CUTOFF_A) -> list[Radial]:
    """The functions of all pairs of elements.

    Args:
        walks: frames of each walker, in equilibrium.
        cutoff_A: largest distance.
    """
    frames = list(_chosen(walks))
    if not frames:
        return []
    symbols = walks[0].symbols
    elements = sorted(set(symbols.tolist()))
    edges = np.linspace(0.0, cutoff_A, max(1, round(cutoff_A / WIDTH_A)) + 1)
    shells = 4.0 / 3.0 * math.pi * np.diff(edges**3)
    kinds = np.searchsorted(np.array(elements), symbols)
    atoms = np.bincount(kinds, minlength=len(elements))
    counts, volumes = [], []
    for cell, places in frames:
        counts.append(_counts(cell, places, kinds, edges=edges, elements=len(elements)))
        volumes.append(abs(float(np.linalg.det(cell))))
    found = []
    for i, j in combinations_with_replacement(range(len(elements)), 2):
        around = np.array([one[i, j] for one in counts]) / atoms[i]
        each = around * np.array(volumes)[:, None] / (atoms[j] * shells)
        found.append(
            Radial(
                pair=(elements[i], elements[j]),
                distances=(edges[1:] + edges[:-1]) / 2.0,
                values=each.mean(axis=0),
                errors=_errors(each),
                neighbours=np.cumsum(around.mean(axis=0)),
                frames=len(frames),
            )
        )
    return found


def _chosen(walks: Sequence[Frames]) -> Iterator[tuple[Array, Array]]:
    """Cells and places of evenly spaced frames."""
    every = [(walk, n) for walk in walks for n in range(len(walk.steps))]
    if not every:
        return
    most = max(BLOCKS, MOST_ATOMS // max(1, len(walks[0].symbols)))
    for index in np.unique(np.linspace(0, len(every) - 1, min(most, len(every))).round()):
        walk, n = every[int(index)]
        yield walk.cells[n], walk.places[n]


def _counts(
    cell: Array, places: Array, kinds: NDArray[np.intp], *, edges: Array, elements: int
) -> Array:
    """(elements, elements, bins) number of neighbours of all atoms of the first element."""
    from matscipy.neighbours import neighbour_list

    i, j, distances = neighbour_list(
        "ijd", positions=(places % 1.0) @ cell, cell=cell, pbc=[True] * 3, cutoff=edges[-1]
    )
    bins = len(edges) - 1
    index = np.minimum((distances / edges[-1] * bins).astype(np.intp), bins - 1)
    code = (kinds[i] * elements + kinds[j]) * bins + index
    found: Array = np.bincount(code, minlength=elements**2 * bins).astype(float)
    return found.reshape(elements, elements, bins)


def _errors(each: Array) -> Array:
    """(bins,) standard errors from (frames, bins) values."""
    if len(each) < BLOCKS:
        return np.full(each.shape[1], math.nan)
    means = np.array([part.mean(axis=0) for part in np.array_split(each, BLOCKS)])
    errors: Array = means.std(axis=0, ddof=1) / math.sqrt(BLOCKS)
    return errors
