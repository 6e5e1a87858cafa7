"""Find a known frame that is nearly the same as a new one, without full comparison with each.

`structures.difference` compares two frames. Lower bounds of this difference (a strain along one
axis, the displacements of a few atoms) are cheap to compute for all frames at once. Frames that
pass these bounds are compared in full, in the order in which they were added. The result is the
same as for full comparisons with all frames.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..structures import difference

Array = NDArray[np.float64]

SAMPLED = 16
"""Number of atoms per frame used for the lower bound of the displacement."""
SLACK = 1e-6
"""Relative tolerance of the lower bounds, for rounding errors."""


@dataclass
class _Alike:
    """Frames with the same elements in the same order, with their data in common arrays.

    The arrays have space for additional frames; the most recent frames may not be in them yet.

    Attributes:
        places: indices of the frames among all frames, from 0.
        frames: the frames.
        known: number of frames in the arrays.
        inverses: (3, space, 3) rows of the inverse cells.
        cells: (space, 3, 3) cells.
        sampled: (space, k, 3) scaled positions of some atoms.
        pairs: (space, 3) scaled vector from the first to the last of these atoms.
    """

    places: list[int] = field(default_factory=list)
    frames: list[Atoms] = field(default_factory=list)
    known: int = 0
    inverses: Array = field(default_factory=lambda: np.zeros((3, 0, 3)))
    cells: Array = field(default_factory=lambda: np.zeros((0, 3, 3)))
    sampled: Array = field(default_factory=lambda: np.zeros((0, 0, 3)))
    pairs: Array = field(default_factory=lambda: np.zeros((0, 3)))

    def take_in(self) -> None:
        """Add all new frames to the arrays."""
        new, first, last = self.frames[self.known :], self.known, len(self.frames)
        if not new:
            return
        atoms = _sample(len(new[0]))
        if last > len(self.cells):
            room = max(last, 2 * first)
            self.inverses = np.array([_larger(rows, (room, 3), first) for rows in self.inverses])
            self.cells = _larger(self.cells, (room, 3, 3), first)
            self.sampled = _larger(self.sampled, (room, len(atoms), 3), first)
            self.pairs = _larger(self.pairs, (room, 3), first)
        cells = np.array([frame.cell.array for frame in new])
        inverses = np.linalg.inv(cells)
        self.cells[first:last] = cells
        self.inverses[:, first:last] = inverses.transpose(1, 0, 2)
        positions = np.array([frame.positions[atoms] for frame in new])
        self.sampled[first:last] = positions @ inverses
        self.pairs[first:last] = self.sampled[first:last, -1] - self.sampled[first:last, 0]
        self.known = last


def _larger(values: Array, shape: tuple[int, ...], count: int) -> Array:
    """A larger array that begins with the first `count` of these values."""
    found = np.zeros(shape)
    if count:
        found[:count] = values[:count]
    return found


@dataclass
class NearFrames:
    """Known frames, for comparison with new ones.

    Attributes:
        before: further known frames, which come before these; None if there are none. No frame
            may be added to them any more.
    """

    before: "NearFrames | None" = None
    _alike: dict[bytes, _Alike] = field(default_factory=dict)
    _count: int = field(init=False)

    def __post_init__(self) -> None:
        self._count = 0 if self.before is None else self.before._count

    @classmethod
    def of(cls, frames: Iterable[Atoms]) -> "NearFrames":
        """An index of these frames, in their order."""
        found = cls()
        for atoms in frames:
            found.add(atoms)
        return found

    def add(self, atoms: Atoms) -> None:
        """Add a frame, which must not change afterwards."""
        alike = self._alike.setdefault(_composition(atoms), _Alike())
        alike.places.append(self._count)
        alike.frames.append(atoms)
        self._count += 1

    def first_within(
        self, atoms: Atoms, *, rmsd_A: float, strain: float
    ) -> tuple[int, float] | None:
        """The first known frame from which a frame differs by less than both limits.

        Frames with other elements, or another order of the same elements, are never near.

        Args:
            atoms: the frame.
            rmsd_A: limit of the rms displacement of `structures.difference`, Å.
            strain: limit of its strain.

        Returns:
            Index of the known frame, from 0, and rmsd (Å); None if there is none.
        """
        if self.before is not None:
            earlier = self.before.first_within(atoms, rmsd_A=rmsd_A, strain=strain)
            if earlier is not None:
                return earlier
        alike = self._alike.get(_composition(atoms))
        if alike is None:
            return None
        alike.take_in()
        for index in _possible(alike, atoms, rmsd_A, strain):
            found, apart = difference(atoms, alike.frames[index])
            if found < rmsd_A and apart < strain:
                return alike.places[index], found
        return None


def _composition(atoms: Atoms) -> bytes:
    return np.asarray(atoms.numbers, dtype="<i8").tobytes()


def _sample(count: int) -> list[int]:
    """Evenly spaced indices of `count` atoms, including the first and the last one."""
    most = min(count, SAMPLED)
    return sorted({round(i * (count - 1) / max(1, most - 1)) for i in range(most)})


def _possible(alike: _Alike, atoms: Atoms, rmsd_A: float, strain: float) -> NDArray[np.intp]:
    """Indices of the frames that may be within the limits, in their order."""
    found = np.arange(alike.known)
    cell = atoms.cell.array
    for axis in range(3):
        # a deformation F with a strain below s has diagonal elements within s of 1
        rows = alike.inverses[axis, : alike.known]
        along = (rows if len(found) == alike.known else rows[found]) @ cell[:, axis]
        found = found[np.abs(along - 1.0) < strain * (1.0 + SLACK) + SLACK]
    limit = len(atoms) * (rmsd_A * (1.0 + SLACK) + SLACK) ** 2
    inverse = np.linalg.inv(cell)
    height = 1.0 / float(np.linalg.norm(inverse, axis=0).max())
    if 10.0 * limit > height**2:  # the nearest image is not unique
        return found
    # The squared displacements of all atoms sum to N rmsd². The sum over some atoms is smaller, and
    # smaller still relative to their mean: for two atoms, half of their squared difference.
    mine = atoms.positions[_sample(len(atoms))] @ inverse
    every = len(found) == alike.known
    pair = mine[-1] - mine[0] - (alike.pairs[: alike.known] if every else alike.pairs[found])
    pair -= np.rint(pair)
    cells = alike.cells[: alike.known] if every else alike.cells[found]
    apart = 0.5 * (pair @ cell + np.einsum("ni,nij->nj", pair, cells))
    found = found[np.einsum("nj,nj->n", apart, apart) < 2.0 * limit]
    moved = mine - alike.sampled[found]
    moved -= np.rint(moved - moved[:, :1])
    moved -= moved.mean(axis=1, keepdims=True)
    displacements = moved @ (0.5 * (cell + alike.cells[found]))
    kept: NDArray[np.intp] = found[(displacements**2).sum(axis=(1, 2)) < limit]
    return kept
