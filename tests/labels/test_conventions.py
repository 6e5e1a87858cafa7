"""Conventions of imported labels, on an exact potential: the right one passes, others are named."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT

from helpers.fakes import ROOT, label
from phasewalk.errors import InputError
from phasewalk.labels import conventions
from phasewalk.labels.label import Label
from phasewalk.structures.structure import perturb
from phasewalk.validation.accuracy import read_labelled


def aluminium(seed: int, count: int = 16, displacement_A: float = 0.06) -> list[Label]:
    """Perturbed crystals, labelled by an exact potential."""
    rng = np.random.default_rng(seed)
    start = bulk("Al", "fcc", a=4.0, cubic=True).repeat((2, 1, 1))
    found = []
    for _ in range(count):
        atoms = perturb(
            start, rng, displacement_A=displacement_A, strain=0.05, min_distance_fraction=0.6
        )
        atoms.calc = EMT()
        found.append(
            label(
                atoms.copy(),
                energy=float(atoms.get_potential_energy()),
                forces=atoms.get_forces(),
                stress=atoms.get_stress(),
            )
        )
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_right_convention_is_recognized(seed: int) -> None:
    found = conventions.check_conventions(aluminium(seed), "x")
    assert "stress in ASE's sign and unit" in found


Change = Callable[[Label], Label]
WRONG: dict[str, tuple[Change, str]] = {
    "sign": (lambda one: replace(one, stress=-one.stress), "positive under compression"),
    "GPa": (lambda one: replace(one, stress=one.stress / units.GPa), "GPa"),
    "kbar, VASP's sign": (lambda one: replace(one, stress=-10 * one.stress / units.GPa), "GPa"),
    "virial": (lambda one: replace(one, stress=-one.stress * one.atoms.get_volume()), "GPa"),
    "gradients": (lambda one: replace(one, forces=-one.forces), "gradients instead of forces"),
    "order": (lambda one: replace(one, stress=one.stress[[0, 1, 2, 5, 4, 3]]), "xx yy zz yz xz xy"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("seed", range(3))
def test_another_convention_is_refused_and_named(name: str, seed: int) -> None:
    change, reason = WRONG[name]
    displacement_A = 0.15 if name == "gradients" else 0.03
    found = [change(one) for one in aluminium(seed, 24, displacement_A)]
    with pytest.raises(InputError, match=r"^data\.extxyz: ") as caught:
        conventions.check_conventions(found, "data.extxyz")
    assert reason in str(caught.value)
    assert "convert" in str(caught.value)


def test_frames_that_are_far_apart_decide_nothing() -> None:
    found = conventions.check_conventions(aluminium(1, 4), "x")
    assert "cannot be determined" in found or "too few" in found
    assert "too few" in conventions.check_conventions([label()], "x")


def test_a_file_of_molecular_dynamics_is_no_false_alarm() -> None:
    frames = read_labelled(ROOT / "examples/mil53_al/test.extxyz")
    rng = np.random.default_rng(2)
    for count in (8, 12, len(frames)):
        chosen = [frames[i] for i in rng.permutation(len(frames))[:count]]
        assert conventions.check_conventions(chosen, "x")


def test_frames_of_different_atoms_are_not_compared() -> None:
    mixed = [label(), label(one.atoms) if (one := aluminium(1, 1)[0]) else label()]
    assert "too few" in conventions.check_conventions(mixed, "x")
