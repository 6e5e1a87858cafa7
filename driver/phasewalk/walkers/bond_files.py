"""The input file of the sentinel that lists the bonds of a walker.

Its format is described at `BondTable` in the plugin's `bonds.h`.
"""

from collections.abc import Sequence

from ase import Atoms

from ..structures import Guard


def name(walker: str) -> str:
    """Name of the file of a walker."""
    return f"{walker}.bonds"


def text(guard: Guard, atoms: Atoms, type_names: Sequence[str]) -> str:
    """Content of the file, for the first frame of a walker.

    Args:
        guard: bonds of its system.
        atoms: the first frame, as in its data file; bonds are those to the nearest images.
        type_names: elements of the LAMMPS types, in order.
    """
    kinds = {symbol: number for number, symbol in enumerate(type_names, start=1)}
    lines = ["# bonds that must not change, and minimum distances of other pairs; Å"]
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
