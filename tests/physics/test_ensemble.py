"""The deck samples the ensemble that was asked for: temperatures, and what the volume does.

Each test runs the deck that users run, with only the pair style replaced by a cheap one, and
compares with an exact answer; limits are multiples of the statistical error of the run itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import physics_ensemble as ensemble
import physics_lammps as engine
import pytest
from ase.build import bulk
from physics_ensemble import DECK, KB, Measured

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SIGMAS = 4.5
THERMOSTATS = ("langevin", "csvr", "nose-hoover")
NAMES = ("Al", "C", "H", "O")
MIXED = replace(
    DECK,
    type_names=NAMES,
    limits={**DECK.limits, "close": (0.001, 1.21, 0.76, 0.31, 0.66)},
    temperature_K=300.0,
    timestep_ps=0.0005,
    thermostat_damping_ps=0.05,
    barostat_damping_ps=0.2,
    steps=40_000,
)


@dataclass(frozen=True)
class Volumes:
    """Mean (Å³) and variance (Å⁶) of the volume."""

    mean: Measured
    variance: Measured


FREE_ARGON = Volumes(Measured(1315.37, 0.07), Measured(589.2, 5.1))
BIASED_ARGON = Volumes(Measured(1316.99, 0.05), Measured(312.1, 1.6))
"""From 900,000 steps of `physics_ensemble.independent`; the second reweighted."""
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


@pytest.mark.parametrize("kind", ["nvt", "npt"])
@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_each_species_has_the_temperature(
    plugin_path: Path, tmp_path: Path, note: Note, thermostat: str, kind: str
) -> None:
    """Four masses in a fluid, which shares their energies; at constant pressure in a crystal."""
    deck = replace(
        MIXED, thermostat=thermostat, ensemble=kind, thermostat_seed=7 if kind == "npt" else 11
    )
    pair = ensemble.FLUID if kind == "nvt" else ensemble.SOLID
    found = species_temperatures(plugin_path, tmp_path, deck, pair)
    for name, one in found.items():
        note(f"four masses, {thermostat} {kind}", f"T of {name}, K", 300.0, one)
    for name, one in found.items():
        assert one.sigmas(300.0) < SIGMAS, (name, one)
    assert found["H"].error < (6.0 if thermostat == "langevin" else 12.0)  # it had 354 K


@pytest.mark.parametrize("start_K", [5.0, 120.0])
@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_the_volume_after_a_cold_and_a_hot_start(
    plugin_path: Path, tmp_path: Path, note: Note, thermostat: str, start_K: float
) -> None:
    deck = replace(DECK, thermostat=thermostat, thermostat_seed=int(start_K))
    thermo = ensemble.run(plugin_path, tmp_path, engine.argon(), deck, start_K=start_K)
    compare(note, f"argon, {thermostat} npt, from {start_K:g} K", thermo, FREE_ARGON)


@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_the_volume_of_a_walk_in_short_segments(
    plugin_path: Path, tmp_path: Path, note: Note, thermostat: str
) -> None:
    """Each segment begins anew: with a cell at rest it would feel that."""
    deck = replace(DECK, thermostat=thermostat, steps=62, thermostat_seed=5)
    thermo = ensemble.run(plugin_path, tmp_path, engine.argon(), deck, segments=200)
    compare(note, f"argon, {thermostat} npt, segments of 0.5 ps", thermo, FREE_ARGON)


@pytest.mark.parametrize("thermostat", THERMOSTATS)
@pytest.mark.usefixtures("plumed_kernel")
def test_a_biased_volume(plugin_path: Path, tmp_path: Path, note: Note, thermostat: str) -> None:
    """Against the independent run, reweighted; after a hot start."""
    deck = replace(DECK, thermostat=thermostat, plumed=True, thermostat_seed=29)
    bias = f"UNITS LENGTH=A ENERGY=kj/mol\nv: VOLUME\nRESTRAINT ARG=v {ensemble.RESTRAINT}\n"
    thermo = ensemble.run(plugin_path, tmp_path, engine.argon(), deck, plumed=bias, start_K=120.0)
    compare(note, f"argon, {thermostat} npt, restrained V", thermo, BIASED_ARGON)


def test_the_independent_run_again(plugin_path: Path, tmp_path: Path, note: Note) -> None:
    """That the numbers to compare with are of the same argon: LAMMPS's fix npt alone."""
    thermo = ensemble.independent(plugin_path, tmp_path, engine.argon(), steps=30_000)
    compare(note, "argon, LAMMPS alone", thermo, FREE_ARGON)


def compare(note: Note, run: str, thermo: dict[str, ensemble.Array], right: Volumes) -> None:
    """Volumes and temperatures of a run of argon against what is right."""
    atoms, volume = ensemble.mean(thermo["Temp"]), ensemble.mean(thermo["Volume"])
    spread = ensemble.variance(thermo["Volume"])
    cell = ensemble.cell_temperature(thermo["Volume"], thermo["Press"])
    note(run, "T of the atoms, K", 40.0, atoms)
    note(run, "T of the cell, K", 40.0, cell)
    note(run, "mean volume, Å³", right.mean.value, volume)
    note(run, "variance of the volume, Å⁶", right.variance.value, spread)
    for found, asked in (
        (atoms, Measured(40.0, 0.0)), (cell, Measured(40.0, 0.0)),
        (volume, right.mean), (spread, right.variance),
    ):  # fmt: skip
        assert found.sigmas(asked.value, asked.error) < SIGMAS, (found, asked)
    assert cell.error < 9.0
    assert volume.error < 2.0


def test_an_ideal_gas(plugin_path: Path, tmp_path: Path, note: Note) -> None:
    """exp(−PV/kT) V^N: its mean volume is (N + 1) kT/P, its variance that times kT/P.

    No stress holds the shape of its cell, which is why it is large here, and may be flipped.
    """
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat((4, 4, 4))
    pressure_bar, count = 20.0, len(atoms) + 1
    unit = KB * 40.0 / (pressure_bar * ensemble.BAR_A3)
    atoms.set_cell(atoms.cell * (count * unit / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    deck = replace(
        DECK, pressure_bar=pressure_bar, thermostat_damping_ps=0.1, thermostat_seed=17,
        barostat_damping_ps=0.2, steps=12_000,
        limits={**DECK.limits, "tilt": (1e3,), "move": (1e3,)},
    )  # fmt: skip
    thermo = ensemble.run(
        plugin_path, tmp_path, atoms, deck, pair=ensemble.FREE, changed={"flip no": "flip yes"}
    )
    volume, spread = ensemble.mean(thermo["Volume"]), ensemble.variance(thermo["Volume"])
    run = "ideal gas, langevin npt"
    note(run, "mean volume / (kT/P)", count, Measured(volume.value / unit, volume.error / unit))
    scaled = Measured(spread.value / unit**2, spread.error / unit**2)
    note(run, "variance of it / (kT/P)²", count, scaled)
    assert volume.sigmas(count * unit) < SIGMAS
    assert scaled.sigmas(count) < SIGMAS
    assert volume.error < 0.01 * volume.value
    assert scaled.error < 0.15 * count


@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_a_harmonic_crystal(plugin_path: Path, tmp_path: Path, note: Note, thermostat: str) -> None:
    """Argon at 1 K: each of 3N − 3 modes has kT/2 of potential energy."""
    deck = replace(DECK, ensemble="nvt", thermostat=thermostat, temperature_K=1.0)
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 2, 2))
    thermo = ensemble.run(plugin_path, tmp_path, atoms, deck)
    lowest = ensemble.run(plugin_path, tmp_path, atoms, replace(deck, steps=0))["PotEng"][0]
    freedom = 3 * len(atoms) - 3
    found = ensemble.mean((thermo["PotEng"] - lowest) * 2.0 / (freedom * KB))
    note(f"harmonic crystal, {thermostat} nvt", "T of the positions, K", 1.0, found)
    assert found.sigmas(1.0) < SIGMAS
    assert found.error < 0.03
