"""Initial data, tried against the reference."""

from dataclasses import replace

import pytest

from helpers.fakes import label
from phasewalk.errors import InputError
from phasewalk.labelling import initial
from phasewalk.reference.requests import Result

FRAME = label(origin={"system": "salt", "round": 0, "file": "mine.extxyz", "frame": 3})


def result(energy: float = 0.0, force: float = 0.0, stress: float = 0.0) -> Result:
    """What the reference says, so far from the label."""
    forces = FRAME.forces.copy()
    forces[0, 0] += force
    return Result(FRAME.energy + energy, forces, FRAME.stress + stress, 1.0)


def test_the_same_level_repeats_itself() -> None:
    found = initial.compare(result(0.008, 0.02, 1e-4), FRAME)
    assert found == (
        "frame 3 of mine.extxyz: recomputed, the maximum differences are 1 meV/atom, 20 "
        "meV/Å, 0.016 GPa"
    )


@pytest.mark.parametrize("wrong", [result(0.02), result(0, 0.03), result(0, 0, 1e-3)])
def test_another_level_is_refused(wrong: Result) -> None:
    with pytest.raises(InputError, match="level of theory differs from the reference's"):
        initial.compare(wrong, FRAME)


def test_a_stress_of_the_other_sign_is_named() -> None:
    with pytest.raises(InputError, match="the stress has the opposite sign"):
        initial.compare(replace(result(), stress=-FRAME.stress), FRAME)
