#!/usr/bin/env python3
"""How many frames raise alarms that should not, and that should; and what a look costs.

    python tests/bench/alarms.py campaign.run

Frames are those of the example (`examples/mil53_al`), and of the segments of free energies in the
campaign's directory, the second half of each segment.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from phasewalk.alarms import Trained, look, of_campaign
from phasewalk.bias.dumps import read_dump
from phasewalk.models import read_stamp

EXAMPLE = Path(__file__).parents[2] / "examples/mil53_al"
EVERY = 20
SEGMENTS = 3
"""Every n-th frame of every n-th segment."""


def main(root: Path) -> None:
    """Print a table."""
    stamp = read_stamp(next(iter(sorted(root.glob("models/final/*/stamp.json")))))
    known = of_campaign(root, "final", stamp.types, stamp.r_max_A, atoms=38, plumed_text=None)
    print(f"{known.about['labels']} labels")
    wide = frames(EXAMPLE / "wide.extxyz")
    show("test", frames(EXAMPLE / "test.extxyz"), known)
    show("wide, intact", [atoms for atoms in wide if atoms.info["intact"]], known)
    show("wide, broken", [atoms for atoms in wide if not atoms.info["intact"]], known)
    show("free energies", list(walked(root, stamp.types)), known)
    for times in (1, 2, 4):
        atoms = wide[0].repeat(times)
        began = time.perf_counter()
        look(atoms, known)
        print(f"{len(atoms)} atoms: {1000 * (time.perf_counter() - began):.0f} ms")


def frames(path: Path) -> list[Atoms]:
    """Without forces and energies."""
    return [
        Atoms(one.symbols, one.positions, cell=one.cell, pbc=True, info=one.info)
        for one in ase.io.read(path, ":")
    ]


def walked(root: Path, types: tuple[str, ...]) -> Iterator[Atoms]:
    """Frames of walkers with the frozen model."""
    for path in sorted(root.glob("fes/*/rounds/*/segment/*.dump"))[::SEGMENTS]:
        found = read_dump(path, types)
        yield from (frame.atoms for frame in found[len(found) // 2 :: EVERY])


def show(name: str, found: list[Atoms], known: Trained) -> None:
    """A row: frames with alarms, atoms with alarms."""
    looks = [look(atoms, known) for atoms in found]
    alarmed = sum(bool(alarms) for alarms, _ in looks)
    atoms = int(sum(np.sum(unlike > 1.0) for _, unlike in looks))
    print(f"{name}: {alarmed} of {len(found)} frames, {atoms} of {sum(map(len, found))} atoms")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
