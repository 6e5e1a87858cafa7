"""The index of frames answers as a comparison with each of them does."""

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from helpers.fakes import crystal
from phasewalk.structures.structure import difference
from phasewalk.walkers.near_frames import NearFrames

RANDOM = np.random.default_rng(5)


def one_by_one(
    atoms: Atoms, frames: list[Atoms], rmsd_A: float, strain: float
) -> tuple[int, float] | None:
    """What the index must answer, by comparing with each frame."""
    for number, other in enumerate(frames):
        if len(other) != len(atoms) or (other.numbers != atoms.numbers).any():
            continue
        found, apart = difference(atoms, other)
        if found < rmsd_A and apart < strain:
            return number, found
    return None


def moved(atoms: Atoms, rattle_A: float, strain: float) -> Atoms:
    """The frame a bit otherwise: displaced, strained, translated, atoms in other images."""
    found = atoms.copy()
    found.set_cell(found.cell @ (np.eye(3) + RANDOM.uniform(-strain, strain, (3, 3))), True)
    found.positions += RANDOM.normal(scale=rattle_A, size=found.positions.shape)
    found.positions += RANDOM.uniform(-9, 9, 3)
    found.positions += RANDOM.integers(-2, 3, found.positions.shape) @ found.cell.array
    return found


def turned(atoms: Atoms) -> Atoms:
    """The frame in another orientation: its strain counts."""
    found = atoms.copy()
    found.rotate(float(RANDOM.uniform(0, 3)), (1, 1, 1), rotate_cell=True)
    return found


BIG = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 1)
ONE = bulk("Ar", "fcc", a=5.3)


@pytest.mark.parametrize(
    ("start", "rattle_A", "strain", "limits"),
    [
        (crystal(), 0.015, 0.002, (0.02, 0.002)),  # near the limits of both
        (crystal(), 0.015, 0.0, (0.02, 0.002)),  # all cells alike, as in NVT
        (BIG, 0.0115, 0.001, (0.02, 0.002)),
        (ONE, 0.01, 0.002, (0.02, 0.002)),
        (crystal(), 0.3, 0.05, (0.5, 0.05)),
        (crystal(), 1.5, 0.05, (2.8, 0.1)),  # half a cell apart may be near
    ],
)
def test_the_answer_is_that_of_a_comparison_with_each(
    start: Atoms, rattle_A: float, strain: float, limits: tuple[float, float]
) -> None:
    frames = [moved(start, rattle_A, strain) for _ in range(60)]
    frames += [turned(start), crystal("KCl"), start]
    index, kept, near = NearFrames(), list[Atoms](), 0
    for number, atoms in enumerate(frames):
        if number in (20, 21, 40):
            index = NearFrames(index)
        answer = index.first_within(atoms, rmsd_A=limits[0], strain=limits[1])
        assert answer == one_by_one(atoms, kept, *limits)
        near += answer is not None
        index.add(atoms)
        kept.append(atoms)
    assert 0 < near < len(frames)  # both answers are among them


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.positions.__iadd__(a.cell.array[0] / 2),
        lambda a: a.positions.__setitem__(3, a.positions[3] + a.cell.array.sum(axis=0)),
        lambda a: a.set_positions(a.positions + 1e-9),
    ],
)
def test_translations_and_images_are_no_other_frame(change: Callable[[Atoms], object]) -> None:
    other = crystal()
    change(other)
    found = NearFrames.of([crystal("KCl"), crystal()]).first_within(
        other, rmsd_A=0.02, strain=0.002
    )
    assert found == (1, pytest.approx(0, abs=1e-7))


def test_just_inside_and_just_outside_the_limit() -> None:
    """Two atoms moved apart by d make an rmsd of d √(2/8)/2."""
    for apart, near in ((0.03999, True), (0.04001, False)):
        other = crystal()
        other.positions[0, 0] += apart
        other.positions[7, 0] -= apart
        found = NearFrames.of([crystal()]).first_within(other, rmsd_A=0.02, strain=0.002)
        assert (found is not None) == near
    for strain, near in ((0.001999, True), (0.002001, False)):
        other = crystal()
        other.set_cell(other.cell * (1, 1 + strain, 1), scale_atoms=True)
        found = NearFrames.of([crystal()]).first_within(other, rmsd_A=1.0, strain=0.002)
        assert (found is not None) == near


def test_none_is_near_among_none() -> None:
    assert NearFrames().first_within(crystal(), rmsd_A=1.0, strain=1.0) is None
