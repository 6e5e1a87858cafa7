"""Cells: groups of bins of a free energy, for statistics over few frames."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .free_energy import FreeEnergy, places, points

Array = NDArray[np.float64]
Cells = NDArray[np.intp]

PER_CELL = 8
"""Intended number of frames per cell, as long as there are at most `CELLS`."""
CELLS = {1: 10, 2: 5}
"""Number of variables → maximum number of cells along each."""


@dataclass(frozen=True)
class Grid:
    """Cells of equal size over the compared bins of a free energy.

    Attributes:
        free: the free energy.
        first, last: for each variable, the first and last bin that is covered by cells.
        count: of cells along each variable.
    """

    free: FreeEnergy
    first: tuple[int, ...]
    last: tuple[int, ...]
    count: int

    def cell_of(self, values: Array) -> Cells:
        """(n,) number of the cell of (n, d) values, the last variable fastest; −1 outside."""
        found, outside = np.zeros(len(values), dtype=np.intp), np.zeros(len(values), dtype=bool)
        for axis, (variable, centres) in enumerate(
            zip(self.free.variables, self.free.centres, strict=True)
        ):
            low, high = self.first[axis] - 0.5, self.last[axis] + 0.5
            share = (places(variable, centres, values[:, axis]) - low) / (high - low)
            outside |= (share < -1e-9) | (share > 1.0 + 1e-9)
            index = np.clip(np.floor(share * self.count).astype(np.intp), 0, self.count - 1)
            found = found * self.count + index
        return np.where(outside, -1, found)

    def middles(self, axis: int) -> Array:
        """(count,) centres of the cells along a variable, as bin indices."""
        low, high = self.first[axis] - 0.5, self.last[axis] + 0.5
        found: Array = low + (high - low) * (np.arange(self.count, dtype=float) + 0.5) / self.count
        return found

    def centre(self, cell: int) -> tuple[float, ...]:
        """Centre of a cell, in the variables' units."""
        indices = np.unravel_index(cell, (self.count,) * len(self.free.centres))
        return tuple(
            float(np.interp(self.middles(axis)[index], np.arange(len(centres)), centres))
            for axis, (index, centres) in enumerate(zip(indices, self.free.centres, strict=True))
        )

    def ends(self, cells: Sequence[int]) -> tuple[tuple[float, float], ...]:
        """For each variable, the range from the first to the last of some cells, in its units."""
        indices = np.unravel_index(list(cells), (self.count,) * len(self.free.centres))
        found = []
        for axis, centres in enumerate(self.free.centres):
            width = float(centres[1] - centres[0]) if len(centres) > 1 else 0.0
            half = (self.last[axis] - self.first[axis] + 1) / (2.0 * self.count)
            middles = self.middles(axis)[indices[axis]]
            low, high = middles.min() - half, middles.max() + half
            found.append((float(centres[0] + low * width), float(centres[0] + high * width)))
        return tuple(found)

    def shares(self, cells: Sequence[int]) -> Array:
        """(bins, cells) weights for interpolation from cells to bins; linear for one variable.

        For two variables, each bin has the value of its cell; NaN if that is not among `cells`.
        """
        if len(self.free.centres) == 1:
            bins = np.arange(len(self.free.centres[0]), dtype=float)
            at, ones = self.middles(0)[list(cells)], np.eye(len(cells))
            columns = [np.interp(bins, at, one) for one in ones]
            between: Array = np.stack(columns, axis=1)
            return between
        own = self.cell_of(points(self.free.centres))
        shared: Array = (own[:, None] == np.array(cells)[None, :]).astype(float)
        shared[shared.sum(axis=1) == 0] = math.nan
        return shared


def grid(free: FreeEnergy, frames: int) -> Grid:
    """Cells for a number of frames, about `PER_CELL` in each."""
    dimensions = len(free.centres)
    low_enough = free.compared
    used = [
        np.flatnonzero(low_enough.any(axis=tuple(i for i in range(dimensions) if i != axis)))
        for axis in range(dimensions)
    ]
    count = int((frames / PER_CELL) ** (1.0 / dimensions) + 1e-9)
    return Grid(
        free,
        tuple(int(one.min()) for one in used),
        tuple(int(one.max()) for one in used),
        min(max(count, 1), CELLS[dimensions]),
    )
