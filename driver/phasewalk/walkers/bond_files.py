"""What a walker's sentinel is told of bonds: a small file beside its deck.

The plugin reads it; `BondTable` in `bonds.h` says what its lines are.
"""

from collections.abc import Sequence

from ase import Atoms

from ..structures import Guard


def name(walker: str) -> str:
    """The file of a walker."""
    return f"{walker}.bonds"


def text(guard: Guard, atoms: Atoms, type_names: Sequence[str]) -> str:
    """The bonds in the frame that a walker begins with.

    Args:
        guard: of its system.
        atoms: the frame, as in its data file; the bonds are those of the nearest images.
        type_names: elements of the LAMMPS types, in their order.
    """
    kinds = {symbol: number for number, symbol in enumerate(type_names, start=1)}
    lines = ["# bonds that must last, and distances within which other pairs are too close (Å)"]
    lines += [f"name {number} {symbol}" for symbol, number in kinds.items()]
    lines += [
        f"bond {one.bond.first + 1} {one.bond.second + 1} "
        f"{' '.join(map(str, one.image))} {one.limit:.6g}"
        for one in guard.place(atoms)
    ]
    lines += [
        f"{'bonding' if pair in guard.bonding else 'apart'} {kinds[pair[0]]} {kinds[pair[1]]} "
        f"{limit:.6g}"
        for pair, limit in guard.near.items()
    ]
    lines += [f"loose {i + 1} {j + 1}" for i, j in sorted(guard.loose)]
    lines += [f"free {i + 1}" for i in sorted(guard.free)]
    return "\n".join(lines) + "\n"
