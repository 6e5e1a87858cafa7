"""The deck samples the ensemble that was asked for: temperatures, and what the volume does.

Each test runs the deck that users run, with only the pair style replaced by a cheap one, and
compares with an exact answer; limits are multiples of the statistical error of the run itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import physics_ensemble as ensemble
import physics_lammps as engine
import pytest
from physics_ensemble import DECK, KB, Measured

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SIGMAS = 4.5
THERMOSTATS = ("langevin", "csvr", "nose-hoover")
NAMES = ("Al", "C", "H", "O")
MIXED = replace(
    DECK,
    type_names=NAMES,
    radii_A=("1.21", "0.76", "0.31", "0.66"),
    temperature_K=300.0,
    timestep_ps=0.0005,
    thermostat_damping_ps=0.05,
    barostat_damping_ps=0.2,
    steps=40_000,
)
Note = Callable[[str, str, float, Measured], None]


@pytest.fixture(name="note")
def _note(record_property: Callable[[str, object], None]) -> Note:
    """Record a row of the table that is printed at the end of the tests."""

    def note(setup: str, quantity: str, asked: float, found: Measured) -> None:
        record_property("ensemble", (setup, quantity, asked, found.value, found.error))

    return note


def species_temperatures(
    plugin: Path, folder: Path, deck: ensemble.decks.WalkerDeck, pair: str
) -> dict[str, Measured]:
    """Kinetic temperature of each species, K, without the part of a centre of mass at rest."""
    atoms = ensemble.mixed_crystal()
    more = {f"c_k{n}": f"group g{n} type {n}\ncompute k{n} g{n} ke" for n, _ in enumerate(NAMES, 1)}
    thermo = ensemble.run(plugin, folder, atoms, deck, pair=pair, print_too=more)
    masses, found = atoms.get_masses(), {}
    for n, name in enumerate(NAMES, 1):
        mine = atoms.symbols == name
        freedom = 3.0 * mine.sum()
        if deck.thermostat != "langevin":
            freedom -= 3.0 * masses[mine].sum() / masses.sum()
        found[name] = ensemble.mean(2.0 * thermo[f"c_k{n}"] / (freedom * KB))
    return found | {"all": ensemble.mean(thermo["Temp"])}


def test_free_particles_have_the_temperature_each(
    plugin_path: Path, tmp_path: Path, note: Note
) -> None:
    """The strictest test of random forces: nothing else brings the species to one temperature."""
    deck = replace(MIXED, ensemble="nvt")
    found = species_temperatures(plugin_path, tmp_path, deck, ensemble.FREE)
    for name, one in found.items():
        note("free particles, langevin nvt", f"T of {name}, K", 300.0, one)
    for name, one in found.items():
        assert one.sigmas(300.0) < SIGMAS, (name, one)
    assert found["H"].error < 8.0


@pytest.mark.parametrize("start_K", [5.0, 120.0])
@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_the_cell_has_the_temperature_after_any_start(
    plugin_path: Path, tmp_path: Path, note: Note, thermostat: str, start_K: float
) -> None:
    deck = replace(DECK, thermostat=thermostat)
    thermo = ensemble.run(plugin_path, tmp_path, engine.argon(), deck, start_K=start_K)
    found = ensemble.cell_temperature(thermo["Volume"], thermo["Press"])
    setup = f"argon, {thermostat} npt, from {start_K:g} K"
    note(setup, "T of the cell, K", 40.0, found)
    note(setup, "T of the atoms, K", 40.0, ensemble.mean(thermo["Temp"]))
    assert found.sigmas(40.0) < SIGMAS, found
    assert found.error < 6.0
    assert ensemble.mean(thermo["Temp"]).sigmas(40.0) < SIGMAS
