"""What is doubtful is said before anything is paid for, and what is fine is left alone."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import kB

from helpers.fakes import MIL53, ROOT, crystal
from phasewalk.campaign.config import BootstrapSettings
from phasewalk.checks import advice
from phasewalk.checks.advice import Displaced
from phasewalk.models.settings import ModelSettings

CROWDED = {
    "Al": bulk("Al", cubic=True),
    "Si": bulk("Si", cubic=True),
    "Fe": bulk("Fe", cubic=True),
    "NaCl": crystal(),
    "MIL-53": ase.io.read(MIL53),
    "ice": ase.io.read(ROOT / "examples/ice_xi/ice_xi.extxyz"),
}


def test_ions_that_see_their_first_shell_alone() -> None:
    """KCl with the default cutoff: six neighbours, from which walkers learned nothing."""
    found = advice.neighbours({"kcl": crystal("KCl", 6.29)}, 4.0)
    assert found.due
    assert "Cl 6, K 6; fewer than 12: the model may be inaccurate" in found.text
    assert "model.r_max_A: 5 includes at least 18" in found.text


def test_the_cutoff_that_is_advised_is_advised_no_more() -> None:
    found = advice.neighbours({"kcl": crystal("KCl", 6.29)}, 5.0)
    assert (found.due, found.text) == (
        False,
        "average number of neighbours within 5 Å: Cl 18, K 18",
    )


@pytest.mark.parametrize("name", CROWDED)
def test_crowded_structures_are_left_alone(name: str) -> None:
    assert not advice.neighbours({name: CROWDED[name]}, 4.0).due


def test_the_poorest_of_several_systems_and_species_counts() -> None:
    lonely = Atoms("NaCl", positions=[[0, 0, 0], [2.5, 0, 0]], cell=[14] * 3, pbc=True)
    found = advice.neighbours({"salt": crystal(), "gas": lonely}, 4.0)
    assert found.due
    assert "salt: Cl 18, Na 18; gas: Cl 1, Na 1" in found.text
    assert "increase model.r_max_A (to 8 or more)" in found.text


def test_the_repulsion_is_mentioned_before_it_is_too_late() -> None:
    assert "cannot be changed" in advice.zbl(ModelSettings(zbl=False)).text
    assert "ends at 0.8 × the sum" in advice.zbl(ModelSettings()).text
    assert "ends at the cutoff" in advice.zbl(ModelSettings(zbl_range_fraction=None)).text


def springs(constants: dict[str, float]) -> Displaced:
    """Atoms on springs: their thermal displacements are sqrt(kT / k), exactly."""
    atoms = crystal("KCl", 6.29)
    moves = np.random.default_rng(1).uniform(-0.03, 0.03, (len(atoms), 3))
    k = np.array([constants[symbol] for symbol in atoms.get_chemical_symbols()])
    return Displaced(atoms, moves, -k[:, None] * moves)


def told(displacement_A: float, constants: dict[str, float], count: int = 32) -> advice.Advice:
    settings = BootstrapSettings(displacement_A=displacement_A)
    return advice.displacements(springs(constants), settings, temperature_K=300.0, count=count)


def test_the_bootstrap_beside_the_temperature() -> None:
    soft = {"K": 1.4, "Cl": 2.0}
    thermal = np.sqrt(kB * 300 / 2.0)  # of the stiffer one: the other's would tear it out
    assert (
        f"at 300 K are about Cl {thermal:.2g}, K {np.sqrt(kB * 300 / 1.4):.2g}"
        in told(0.1, soft).text
    )
    assert told(0.1, soft).due
    assert f"use bootstrap.displacement_A: {thermal * np.sqrt(3):.2g}" in told(0.1, soft).text
    assert not told(float(round(thermal * np.sqrt(3), 2)), soft).due
    assert told(0.9, {"K": 30.0, "Cl": 30.0}).due  # far more than walkers will
    assert told(0.9, {"K": 0.1, "Cl": 30.0}).due  # more than the chlorine will
    assert not told(0.1, soft, count=0).due


def test_a_structure_that_is_not_at_rest_has_no_thermal_displacements() -> None:
    found = told(0.1, {"K": -1.0, "Cl": -1.0})
    assert not found.due
    assert "thermal ones are unknown" in found.text
    assert "K: no restoring force" in told(0.1, {"K": -1.0, "Cl": 2.0}).text
    assert advice.stiffness(springs({"K": -1.0, "Cl": 2.0})) == pytest.approx({"Cl": 2.0})
