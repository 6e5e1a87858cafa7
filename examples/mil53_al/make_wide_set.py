#!/usr/bin/env python3
"""Make a second test set for MIL-53(Al): frames of biased walkers, labelled with GFN1-xTB.

    phasewalk run free.yaml --dir free.run     # the example with another seed and bonds: free
    python make_wide_set.py free.run -o wide.extxyz

The walkers deform the crystal further than the dynamics of `make_test_set.py`, and without the
check of bonds some of them open Al-O bonds. Frames with the bonds of the start structure and frames
with other bonds are spread over the volume, each by themselves, and have `intact` in their
comments. The campaign must not be one whose models are tested.

Units: A, eV; stress in eV/A^3 in ASE's convention (tension positive).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from tblite.ase import TBLite

from phasewalk.structures import bonds

MAX_STRETCH, NEW_BOND = 1.5, 1.2  # segment.max_bond_stretch, segment.new_bond_fraction


def walked(run: Path, start: Atoms) -> list[Atoms]:
    """All saved frames of all walkers, without the first one of each segment."""
    frames = []
    for dump in sorted(run.glob("rounds/*/segment/*.dump")):
        frames += read(dump, "1:", format="lammps-dump-text")
    for atoms in frames:  # in the order of their ids, as in the start structure
        atoms.symbols = start.symbols
    return frames


def spread(
    frames: Sequence[Atoms], within: Sequence[float], count: int, rng: np.random.Generator
) -> list[Atoms]:
    """One frame from each of `count` equal parts of a range of volumes, the rest from all."""
    volumes = np.array([atoms.get_volume() for atoms in frames])
    edges = np.linspace(*within, count + 1)
    chosen: list[int] = []
    for low, high in pairwise(edges):
        inside = np.flatnonzero((volumes >= low) & (volumes < high))
        chosen += rng.choice(inside, size=min(1, len(inside)), replace=False).tolist()
    rest = np.setdiff1d(np.flatnonzero((volumes >= edges[0]) & (volumes < edges[-1])), chosen)
    more = min(count - len(chosen), len(rest))
    chosen += rng.choice(rest, size=more, replace=False).tolist()
    return [frames[i] for i in sorted(chosen, key=lambda i: volumes[i])]


def labelled(atoms: Atoms, intact: bool) -> Atoms:
    """A copy with energy, forces and stress."""
    frame = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    frame.calc = TBLite(method="GFN1-xTB", verbosity=0)
    results = {
        "energy": frame.get_potential_energy(),
        "forces": frame.get_forces(),
        "stress": frame.get_stress(),
    }
    frame.calc = SinglePointCalculator(frame, **results)
    frame.info |= {"volume_A3": round(float(frame.get_volume()), 3), "intact": intact}
    return frame


def main() -> None:
    """Choose, label, write."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="directory of a campaign")
    parser.add_argument("-i", "--structure", type=Path, default=here / "mil53_al.extxyz",
                        help="start structure of the campaign")  # fmt: skip
    parser.add_argument("--volumes", type=float, nargs=2, default=(500.0, 900.0),
                        help="range of cell volumes, A^3")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, default=here / "wide.extxyz")
    parser.add_argument("--intact", type=int, default=24, help="frames with the crystal's bonds")
    parser.add_argument("--opened", type=int, default=12, help="frames with other bonds")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    start = read(args.structure)
    kept = bonds.guard(start, break_ratio=MAX_STRETCH, form_ratio=NEW_BOND)
    frames = walked(args.run, start)
    whole = [kept.fault(atoms) is None for atoms in frames]
    rng = np.random.default_rng(args.seed)
    found = []
    for intact, count in ((True, args.intact), (False, args.opened)):
        mine = [atoms for atoms, one in zip(frames, whole, strict=True) if one == intact]
        found += [labelled(atoms, intact) for atoms in spread(mine, args.volumes, count, rng)]
        print(f"{len(mine)} frames {'with the bonds' if intact else 'with other bonds'}")
    write(args.output, found, format="extxyz")
    print(f"wrote {len(found)} frames to {args.output}")


if __name__ == "__main__":
    main()
