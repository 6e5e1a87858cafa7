"""Which of many frames a new one hardly differs from, without a full comparison with each.

`structures.difference` says how two frames differ. Parts of it (a strain along one axis, the
displacements of a few atoms) can only be smaller than the whole, and cost little for all frames at
once. What they let pass is compared in full, in the order in which the frames were added: so the
answer is that of a comparison with each of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..structures import difference

Array = NDArray[np.float64]

SAMPLED = 16
"""Atoms of a frame whose positions are kept apart for the comparison with all."""
SLACK = 1e-6
"""By how much a limit is taken wider for the parts, for what rounding may do to them."""


@dataclass
class _Alike:
    """Frames of the same elements in the same order, and what is known of all of them at once.

    The arrays have room for more frames than there are; the last ones may not be in them yet.

    Attributes:
        places: their numbers among all frames, from 0.
        frames: themselves.
        known: how many of them are in the arrays.
        inverses: (3, room, 3) rows of the inverses of their cells.
        cells: (room, 3, 3).
        sampled: (room, k, 3) scaled positions of some of their atoms.
        pairs: (room, 3) the last of these from the first.
    """

    places: list[int] = field(default_factory=list)
    frames: list[Atoms] = field(default_factory=list)
    known: int = 0
    inverses: Array = field(default_factory=lambda: np.zeros((3, 0, 3)))
    cells: Array = field(default_factory=lambda: np.zeros((0, 3, 3)))
    sampled: Array = field(default_factory=lambda: np.zeros((0, 0, 3)))
    pairs: Array = field(default_factory=lambda: np.zeros((0, 3)))

    def take_in(self) -> None:
        """Make the arrays hold all frames."""
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
    """An array with more room, which begins with the first `count` of these values."""
    found = np.zeros(shape)
    if count:
        found[:count] = values[:count]
    return found


@dataclass
class NearFrames:
    """Frames with which new ones are compared."""

    _alike: dict[bytes, _Alike] = field(default_factory=dict)
    _count: int = 0

    @classmethod
    def of(cls, frames: Iterable[Atoms]) -> "NearFrames":
        """All of these, in their order."""
        found = cls()
        for atoms in frames:
            found.add(atoms)
        return found

    def add(self, atoms: Atoms) -> None:
        """One more frame; it must not change any more."""
        alike = self._alike.setdefault(_composition(atoms), _Alike())
        alike.places.append(self._count)
        alike.frames.append(atoms)
        self._count += 1

    def first_within(
        self, atoms: Atoms, *, rmsd_A: float, strain: float
    ) -> tuple[int, float] | None:
        """The first frame from which this one differs by less than both limits.

        Frames of other elements, or of the same in another order, are never near.

        Args:
            atoms: the frame.
            rmsd_A: limit of the first number of `structures.difference`, Å.
            strain: limit of its second.

        Returns:
            The frame's number, from 0, and the rmsd (Å); None if there is none.
        """
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
    """Some of so many atoms: the first, the last, and evenly between."""
    most = min(count, SAMPLED)
    return sorted({round(i * (count - 1) / max(1, most - 1)) for i in range(most)})


def _possible(alike: _Alike, atoms: Atoms, rmsd_A: float, strain: float) -> NDArray[np.intp]:
    """Those that may be within the limits, in their order."""
    found = np.arange(alike.known)
    cell = atoms.cell.array
    for axis in range(3):
        # a deformation F between two cells whose strain is below s has its diagonal within s of 1
        rows = alike.inverses[axis, : alike.known]
        along = (rows if len(found) == alike.known else rows[found]) @ cell[:, axis]
        found = found[np.abs(along - 1.0) < strain * (1.0 + SLACK) + SLACK]
    limit = len(atoms) * (rmsd_A * (1.0 + SLACK) + SLACK) ** 2
    inverse = np.linalg.inv(cell)
    height = 1.0 / float(np.linalg.norm(inverse, axis=0).max())
    if 10.0 * limit > height**2:  # half a cell apart may be near: which way is shorter is open
        return found
    # all displacements' squares add up to N rmsd²; those of some atoms are less, and about the
    # mean of these atoms less still: with two atoms, half the square of what is between them
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
