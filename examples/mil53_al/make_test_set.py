#!/usr/bin/env python3
"""Make a fixed test set for MIL-53(Al) from molecular dynamics with GFN1-xTB.

The frames are independent of the campaign: neither a learned potential nor a bias is used.  Each
volume is reached by rotating the two long in-plane lattice vectors towards or away from each
other at constant length (the wine-rack motion of the framework), and by relaxing atoms and cell
shape at that volume.  Langevin dynamics in the fixed cell then gives a few frames per volume,
each with energy, forces and stress.

Units: A, eV, fs, K; stress in eV/A^3 in ASE's convention (tension positive).
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import LBFGS
from tblite.ase import TBLite

TIMESTEP_FS = 1.0
FRICTION_PER_FS = 0.02  # strong, for fast equilibration
MAX_VOLUME_STEP = 40.0  # A^3 between two relaxations on the way to a volume


def breathe(atoms: Atoms, volume: float) -> Atoms:
    """Return `atoms` closed or opened to `volume` (A^3) along the wine-rack motion.

    The shortest lattice vector (the Al-OH chain) keeps its length and direction; the other two
    keep their lengths perpendicular to the chain and rotate about it, symmetrically.  Volumes
    beyond a right angle are reached by uniform scaling.
    """
    cell = atoms.cell.array
    lengths = atoms.cell.lengths()
    chain = int(np.argmin(lengths))
    first, second = (i for i in range(3) if i != chain)
    axis = cell[chain] / lengths[chain]
    in_plane = [cell[i] - (cell[i] @ axis) * axis for i in (first, second)]
    norms = [float(np.linalg.norm(vector)) for vector in in_plane]
    cosine = in_plane[0] @ in_plane[1] / (norms[0] * norms[1])
    angle = np.arccos(cosine)
    sine = min(1.0, volume / (lengths[chain] * norms[0] * norms[1]))
    new_angle = np.arcsin(sine) if angle < np.pi / 2 else np.pi - np.arcsin(sine)
    half = np.array([-0.5, 0.5]) * (new_angle - angle)
    normal = np.cross(in_plane[0], in_plane[1])
    normal /= np.linalg.norm(normal)
    new_cell = cell.copy()
    for i, vector, turn in zip((first, second), in_plane, half, strict=True):
        turned = vector * np.cos(turn) + np.cross(normal, vector) * np.sin(turn)
        new_cell[i] += turned - vector
    result = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    new_cell *= np.cbrt(volume / abs(np.linalg.det(new_cell)))  # beyond a right angle: scale
    result.set_cell(new_cell, scale_atoms=True)
    return result


def relaxed_at(atoms: Atoms, volume: float, fmax: float, max_steps: int) -> Atoms:
    """Change `atoms` to `volume` (A^3) and relax atoms and cell shape there approximately."""
    n_stages = max(1, int(np.ceil(abs(volume - atoms.get_volume()) / MAX_VOLUME_STEP)))
    for target in np.linspace(atoms.get_volume(), volume, n_stages + 1)[1:]:
        atoms = breathe(atoms, float(target))
        atoms.calc = TBLite(method="GFN1-xTB", verbosity=0)
        shape = FrechetCellFilter(atoms, constant_volume=True)
        LBFGS(shape, logfile=None).run(fmax=fmax, steps=max_steps)
    return atoms


def labelled(atoms: Atoms, temperature: float) -> Atoms:
    """Return a copy of an MD frame with its energy, forces and stress."""
    frame = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    frame.calc = SinglePointCalculator(
        frame,
        energy=atoms.get_potential_energy(),
        forces=atoms.get_forces(),
        stress=atoms.get_stress(),
    )
    frame.info["volume_A3"] = round(float(atoms.get_volume()), 3)
    frame.info["temperature_K"] = temperature
    return frame


def frames_at(atoms: Atoms, args: argparse.Namespace, rng: np.random.Generator) -> Iterator[Atoms]:
    """Yield labelled frames of NVT dynamics that starts from the relaxed `atoms`."""
    # half of the kinetic energy becomes potential energy within a few vibrations
    thermalize_momenta(atoms, temperature_K=2 * args.temperature, rng=rng)
    dynamics = Langevin(
        atoms,
        TIMESTEP_FS * units.fs,
        temperature_K=args.temperature,
        friction=FRICTION_PER_FS / units.fs,
        fixcm=False,
        rng=rng,
    )
    dynamics.run(args.equilibration)
    for _ in range(args.frames):
        dynamics.run(args.interval)
        yield labelled(atoms, args.temperature)


def parse_args() -> argparse.Namespace:
    """Command line."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(
        description="Label GFN1-xTB molecular dynamics frames of MIL-53(Al) at fixed volumes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("-i", "--structure", type=Path, default=here / "mil53_al.extxyz",
                        help="relaxed start structure")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, default=here / "test.extxyz",
                        help="extended XYZ file to write")  # fmt: skip
    parser.add_argument("--volumes", type=float, nargs="+",
                        default=[570.0, 620.0, 670.0, 720.0, 770.0, 820.0],
                        help="cell volumes, A^3")  # fmt: skip
    parser.add_argument("--frames", type=int, default=5, help="frames per volume")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--equilibration", type=int, default=100, help="steps before a frame, fs")
    parser.add_argument("--interval", type=int, default=25, help="steps between frames, fs")
    parser.add_argument("--seed", type=int, default=2024, help="seed of velocities and noise")
    return parser.parse_args()


def main() -> None:
    """Proceed outwards from the start volume, so that each cell starts from the previous one."""
    args = parse_args()
    warnings.filterwarnings("ignore", message="logm result may be inaccurate")
    rng = np.random.default_rng(args.seed)
    start = read(args.structure)
    opening = sorted(v for v in args.volumes if v >= start.get_volume())
    closing = sorted((v for v in args.volumes if v < start.get_volume()), reverse=True)
    frames: list[Atoms] = []
    for branch in (opening, closing):
        cell = start
        for volume in branch:
            cell = relaxed_at(cell, volume, fmax=0.1, max_steps=25)
            relaxed_energy = cell.get_potential_energy()
            moving = cell.copy()
            moving.calc = TBLite(method="GFN1-xTB", verbosity=0)
            new = list(frames_at(moving, args, rng))
            frames += new
            pressures = [-f.get_stress()[:3].mean() / units.GPa for f in new]
            print(f"{volume:6.1f} A^3: relaxed {relaxed_energy:.3f} eV, cell parameters "
                  f"{np.round(cell.cell.cellpar(), 2)}, mean pressure {np.mean(pressures):.2f} "
                  "GPa", flush=True)  # fmt: skip
    frames.sort(key=lambda frame: frame.info["volume_A3"])
    write(args.output, frames, format="extxyz")
    print(f"wrote {len(frames)} frames to {args.output}")


if __name__ == "__main__":
    main()
