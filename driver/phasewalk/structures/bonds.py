"""The bonds of a start structure, and which of them a frame has lost or gained.

A bond is a pair within 1.2 × the sum of the covalent radii, if both atoms are non-metals, or if one
is a metal and bonds lead from it to a bond between two non-metals. So the nodes of a framework are
bonded to its linkers, and the ions of a salt and the atoms of a metal are not: those must only stay
apart. Alkali metals and Ca, Sr, Ba and Ra have no bonds.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement, product

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import NDArray

from ..errors import InputError
from .molecules import NON_METALS, STRETCH

Array = NDArray[np.float64]
Pair = tuple[str, str]

IONS = frozenset([3, 11, 19, 37, 55, 87, 20, 38, 56, 88])
"""Alkali metals and the heavier alkaline earth metals."""
UNCLEAR = 1.35
"""Pairs of the start structure within this × the sum of covalent radii that are no bonds may become
some: they are not watched."""
APART, APART_RADII = 0.75, 0.8
"""Closest distance of two atoms that form no bonds: × the shortest one in the start structure, and
at most so much × the sum of their covalent radii."""
SAME_A = 0.1
"""Vectors from an atom to images of another that differ by less are of one image."""
SHIFTS = np.array(list(product(range(-2, 3), repeat=3)))
"""Cells that may hold the nearest image of an atom, around the one that fractions name."""


@dataclass(frozen=True)
class Bond:
    """A bond of the start structure: two atoms (from 0, the lower one first), its length, Å."""

    first: int
    second: int
    length: float


@dataclass(frozen=True)
class Placed:
    """A bond in a frame.

    Attributes:
        bond: of the start structure.
        image: whole cell vectors by which the second atom is moved.
        vector: (3,) from the first atom to that image of the second, Å.
        limit: length beyond which the bond is broken, Å.
    """

    bond: Bond
    image: tuple[int, int, int]
    vector: Array
    limit: float

    @property
    def length(self) -> float:
        """Å."""
        return float(np.linalg.norm(self.vector))


@dataclass(frozen=True)
class Guard:
    """The bonds that a system must keep, and how near other pairs may come.

    Attributes:
        symbols: elements of the start structure's atoms.
        bonds: that are watched.
        near: pair of elements, in the order of their names → distance (Å) within which a pair that
            is not bonded is too close; other pairs may come as close as they like.
        loose: pairs of atoms (from 0, the lower one first) that are not watched.
        free: atoms (from 0) that are not watched.
        break_ratio: a bond is broken beyond this × its length in the start structure.
        bonding: pairs of elements for which being too close is a new bond.
    """

    symbols: tuple[str, ...]
    bonds: tuple[Bond, ...]
    near: Mapping[Pair, float]
    loose: frozenset[tuple[int, int]]
    free: frozenset[int]
    break_ratio: float
    bonding: frozenset[Pair]

    def counts(self) -> dict[Pair, int]:
        """Number of watched bonds of each pair of elements, in the order of their names."""
        return dict(sorted(Counter(map(self._elements, self.bonds)).items()))

    def lengths(self, pair: Pair) -> tuple[float, float]:
        """The shortest and the longest bond of two elements in the start structure, Å."""
        found = [bond.length for bond in self.bonds if self._elements(bond) == pair]
        return min(found), max(found)

    def place(self, atoms: Atoms) -> list[Placed]:
        """The bonds in a frame of the same atoms: those of the nearest images."""
        found = []
        for (i, j), bonds in self._between.items():
            images, vectors = _nearest(atoms, i, j, count=len(bonds))
            for bond, image, vector in zip(bonds, images.tolist(), vectors, strict=True):
                limit = self.break_ratio * bond.length
                found.append(Placed(bond, (image[0], image[1], image[2]), vector, limit))
        return found

    def fault(self, atoms: Atoms) -> str | None:
        """Where a frame differs most from the start structure's bonds; None if nowhere.

        Positions and cell must be finite.
        """
        placed = self.place(atoms)
        worst = max(placed, key=lambda one: one.length / one.limit, default=None)
        if worst is None or worst.length <= worst.limit:
            return self._too_close(atoms, placed)
        first, second = worst.bond.first, worst.bond.second
        return (
            f"the bond {self.named(first, second)} is broken: {worst.length:.2f} Å (limit "
            f"{worst.limit:.2f} Å, {worst.bond.length:.2f} Å in the start structure)"
        )

    def named(self, first: int, second: int) -> str:
        """Two atoms by their elements and numbers, from 1."""
        return f"{self.symbols[first]}{first + 1}–{self.symbols[second]}{second + 1}"

    def _too_close(self, atoms: Atoms, placed: Sequence[Placed]) -> str | None:
        """The pair without a bond that is furthest within its limit."""
        from matscipy.neighbours import neighbour_list

        if not self.near:
            return None
        own: dict[tuple[int, int], list[Array]] = defaultdict(list)
        for one in placed:
            own[one.bond.first, one.bond.second] += [one.vector]
            if one.bond.first == one.bond.second:
                own[one.bond.first, one.bond.second] += [-one.vector]
        worst, told = 1.0, None
        first, second, vectors = neighbour_list("ijD", atoms, dict(self.near))
        for i, j, vector in zip(first.tolist(), second.tolist(), vectors, strict=True):
            if i > j or (i, j) in self.loose or self.free & {i, j}:
                continue
            if any(np.linalg.norm(vector - known) < SAME_A for known in own.get((i, j), ())):
                continue
            pair, length = _pair(self.symbols[i], self.symbols[j]), float(np.linalg.norm(vector))
            if length / self.near[pair] < worst:
                worst = length / self.near[pair]
                what = "and not bonded in" if pair in self.bonding else "far closer than any in"
                told = (
                    f"{self.named(i, j)} are {length:.2f} Å apart (limit {self.near[pair]:.2f} Å), "
                    f"{what} the start structure"
                )
        return told

    def _elements(self, bond: Bond) -> Pair:
        return _pair(self.symbols[bond.first], self.symbols[bond.second])

    @cached_property
    def _between(self) -> Mapping[tuple[int, int], list[Bond]]:
        """The bonds of each pair of atoms, the shortest first."""
        found: dict[tuple[int, int], list[Bond]] = defaultdict(list)
        for bond in sorted(self.bonds, key=lambda one: one.length):
            found[bond.first, bond.second].append(bond)
        return dict(sorted(found.items()))


def guard(
    atoms: Atoms, *, left_out: Iterable[str | int] = (), break_ratio: float, form_ratio: float
) -> Guard:
    """What a system's walkers must keep of its start structure.

    Args:
        atoms: the start structure.
        left_out: what is not watched: pairs of elements ("Al-O") and atoms (numbers, from 1).
        break_ratio: a bond is broken beyond this × its length in the start structure.
        form_ratio: two atoms are newly bonded within this × the sum of their covalent radii.

    Raises:
        InputError: the structure has no such atom or element.
    """
    symbols = tuple(atoms.get_chemical_symbols())
    out, free = _left_out(symbols, left_out)
    close = _close_pairs(atoms, max(UNCLEAR, APART_RADII / APART))
    bonds = _bonds(symbols, close)
    metals = {s for bond in bonds for s in (symbols[bond.first], symbols[bond.second])}
    pairs = [pair for pair in _pairs(symbols) if pair not in out]
    bonding = {pair for pair in pairs if _may_bond(pair) and set(pair) & _METALS <= metals}
    near = {
        pair: form_ratio * _radii(pair) if pair in bonding else _apart(pair, symbols, close)
        for pair in pairs
    }
    watched = [
        bond
        for bond in bonds
        if _pair(symbols[bond.first], symbols[bond.second]) in near
        and not free & {bond.first, bond.second}
    ]
    others = set(close) - set(bonds)
    loose = _unclear(symbols, others, near, form_ratio) | _angles(bonds)
    return Guard(
        symbols, tuple(watched), near, loose, frozenset(free), break_ratio, frozenset(bonding)
    )


def _left_out(
    symbols: Sequence[str], entries: Iterable[str | int]
) -> tuple[frozenset[Pair], frozenset[int]]:
    """Pairs of elements, and atoms (from 0), that are not watched."""
    pairs, free = set(), set()
    for entry in entries:
        if isinstance(entry, int):
            if not 1 <= entry <= len(symbols):
                raise InputError(f"{entry}: the structure has atoms 1 to {len(symbols)}")
            free.add(entry - 1)
            continue
        words = re.split(r"[-–]", entry)
        unknown = [word for word in words if word not in symbols]
        if len(words) != 2 or unknown:
            raise InputError(
                f"{entry!r}: write a pair of the structure's elements, as "
                f"{symbols[0]}-{symbols[-1]}, or the number of an atom, from 1"
            )
        pairs.add(_pair(*words))
    return frozenset(pairs), frozenset(free)


def _close_pairs(atoms: Atoms, ratio: float) -> list[Bond]:
    """All pairs within so much × the sum of covalent radii, each once."""
    from ase.neighborlist import neighbor_list

    found = neighbor_list("ijdS", atoms, ratio * covalent_radii[atoms.numbers])
    return [
        Bond(int(i), int(j), float(length))
        for i, j, length, image in zip(*found, strict=True)
        if i < j or (i == j and tuple(image) > (0, 0, 0))
    ]


def _bonds(symbols: Sequence[str], close: Sequence[Bond]) -> list[Bond]:
    """Those of the close pairs that are bonds."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    found = []
    for one in close:
        pair = _pair(symbols[one.first], symbols[one.second])
        if _may_bond(pair) and one.length < STRETCH * _radii(pair):
            found.append(one)
    ends = ([one.first for one in found], [one.second for one in found])
    links = coo_array((np.ones(len(found)), ends), shape=(len(symbols),) * 2)
    _, parts = connected_components(links, directed=False)
    covalent = {
        parts[b.first] for b in found if not {symbols[b.first], symbols[b.second]} & _METALS
    }
    return [one for one in found if parts[one.first] in covalent]


def _unclear(
    symbols: Sequence[str], others: Iterable[Bond], near: Mapping[Pair, float], form_ratio: float
) -> frozenset[tuple[int, int]]:
    """Pairs that are no bonds in the start structure, and are hardly beyond their limit there."""
    return frozenset(
        (one.first, one.second)
        for one in others
        if one.length
        < max(1.0, UNCLEAR / form_ratio)
        * near.get(_pair(symbols[one.first], symbols[one.second]), 0)
    )


def _angles(bonds: Iterable[Bond]) -> frozenset[tuple[int, int]]:
    """Pairs that are bonded to one atom: they come close whenever an angle bends."""
    neighbours: dict[int, set[int]] = defaultdict(set)
    for bond in bonds:
        neighbours[bond.first].add(bond.second)
        neighbours[bond.second].add(bond.first)
    return frozenset(
        pair
        for ends in neighbours.values()
        for pair in combinations_with_replacement(sorted(ends), 2)
    )


def _apart(pair: Pair, symbols: Sequence[str], close: Iterable[Bond]) -> float:
    """The distance within which two atoms that form no bonds are too close, Å."""
    shortest = min(
        (b.length for b in close if _pair(symbols[b.first], symbols[b.second]) == pair),
        default=np.inf,
    )
    return float(min(APART * shortest, APART_RADII * _radii(pair)))


def _nearest(
    atoms: Atoms, first: int, second: int, *, count: int
) -> tuple[NDArray[np.intp], Array]:
    """The nearest images of an atom, as seen from another (or from itself).

    Returns:
        (count, 3) whole cell vectors, and (count, 3) vectors in Å, the shortest first.
    """
    cell = atoms.cell.array
    between = atoms.positions[second] - atoms.positions[first]
    images = SHIFTS - np.rint(np.linalg.solve(cell.T, between)).astype(int)
    if first == second:  # of an image and its opposite, one
        images = images[[tuple(image) > (0, 0, 0) for image in images.tolist()]]
    vectors = between + images @ cell
    order = np.argsort(np.linalg.norm(vectors, axis=1), kind="stable")[:count]
    return images[order], vectors[order]


_METALS = frozenset(s for s, z in atomic_numbers.items() if z not in NON_METALS)


def _may_bond(pair: Pair) -> bool:
    """Whether atoms of two elements may form bonds that are watched."""
    metals = [s for s in pair if s in _METALS]
    return len(metals) < 2 and not any(atomic_numbers[s] in IONS for s in metals)


def _pair(first: str, second: str) -> Pair:
    return (first, second) if first <= second else (second, first)


def _pairs(symbols: Sequence[str]) -> list[Pair]:
    """All pairs of the elements, in the order of their names."""
    return list(combinations_with_replacement(sorted(set(symbols)), 2))


def _radii(pair: Pair) -> float:
    """Sum of covalent radii, Å."""
    return float(sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair))
