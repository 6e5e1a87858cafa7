"""Test frames: displaced, strained, rotated, permuted and compressed copies of real frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from ..structures import bare

STEP_A = {"float32": 0.01, "float64": 0.001}
"""Norm of the displacement of all atoms, Å; 10⁻⁴ Å would be within the noise of float32."""
STEP_STRAIN = {"float32": 2e-3, "float64": 2e-4}
STENCIL = ((-2.0, 1.0 / 12.0), (-1.0, -8.0 / 12.0), (1.0, 8.0 / 12.0), (2.0, -1.0 / 12.0))
"""Offsets and weights of the five-point first derivative (error of fourth order)."""


@dataclass(frozen=True)
class Probe:
    """A frame to evaluate, and the number of the real frame that it was made from."""

    kind: str
    frame: int
    atoms: Atoms
    weight: float = 0.0


def probes(frames: Sequence[Atoms], dtype: str, *, full: bool, seed: int) -> list[Probe]:
    """Frames to evaluate, the real ones first.

    Args:
        frames: a few real frames.
        dtype: precision of the model.
        full: make all kinds of probes of all frames; else only the displaced and strained copies
            of the first frame.
        seed: of directions.
    """
    rng = np.random.default_rng(seed)
    found = [Probe("real", i, bare(atoms)) for i, atoms in enumerate(frames)]
    for i, atoms in enumerate(frames if full else frames[:1]):
        found += _displaced(i, atoms, STEP_A[dtype], rng)
        found += _strained(i, atoms, STEP_STRAIN[dtype], rng)
    if full:
        for i, atoms in enumerate(frames):
            found += _transformed(i, atoms, rng)
            found += [Probe("squeezed", i, one, part) for part, one in squeezed(atoms).items()]
    return found


def _displaced(i: int, atoms: Atoms, step: float, rng: np.random.Generator) -> list[Probe]:
    direction = rng.normal(size=(len(atoms), 3))
    direction /= np.linalg.norm(direction)
    made = []
    for offset, weight in STENCIL:
        moved = bare(atoms)
        moved.positions += offset * step * direction
        moved.info["direction"] = direction
        made.append(Probe("displaced", i, moved, weight / step))
    return made


def _strained(i: int, atoms: Atoms, step: float, rng: np.random.Generator) -> list[Probe]:
    strain = rng.normal(size=(3, 3))
    strain = (strain + strain.T) / 2
    strain /= np.linalg.norm(strain)
    made = []
    for offset, weight in STENCIL:
        deformed = bare(atoms)
        deformation = np.eye(3) + offset * step * strain
        deformed.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        deformed.info["direction"] = strain
        made.append(Probe("strained", i, deformed, weight / step))
    return made


def _transformed(i: int, atoms: Atoms, rng: np.random.Generator) -> list[Probe]:
    """A permuted, a rotated and a translated copy."""
    order = rng.permutation(len(atoms))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    permuted, rotated, moved = bare(atoms)[order], bare(atoms), bare(atoms)
    permuted.info["order"] = order
    # The lattice vectors are permuted, since LAMMPS would undo a rotation of the same ones.
    rotated.set_cell(atoms.cell.array[[1, 2, 0]] @ rotation)
    rotated.set_positions(atoms.positions @ rotation)
    rotated.info["rotation"] = rotation
    moved.positions += rng.uniform(-5, 5, 3)
    return [Probe("permuted", i, permuted), Probe("rotated", i, rotated), Probe("moved", i, moved)]


def attracts(energies: Sequence[float]) -> bool:
    """Whether energies do not increase: of a frame, then of its copies from `squeezed`."""
    return any(second <= first for first, second in pairwise(energies))


def squeezed(atoms: Atoms) -> dict[float, Atoms]:
    """Copies with the closest bonded pair pushed together, by the fraction of its length left.

    Empty if no two atoms are closer than 1.3 times the sum of their covalent radii.
    """
    from ase.neighborlist import neighbor_list

    first, second, vectors = neighbor_list("ijD", atoms, covalent_radii[atoms.numbers] * 1.3)
    if len(first) == 0:
        return {}
    k = int(np.argmin(np.linalg.norm(vectors, axis=1)))
    made = {}
    for fraction in (0.6, 0.4):
        made[fraction] = compressed = bare(atoms)
        compressed.positions[first[k]] += 0.5 * (1 - fraction) * vectors[k]
        compressed.positions[second[k]] -= 0.5 * (1 - fraction) * vectors[k]
    return made
