"""Decks run with cheap pair styles, and what statistical mechanics says of the result."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import ase
import numpy as np
import physics_lammps as engine
from ase.build import bulk
from numpy.typing import NDArray

from phasewalk import decks, logs

Array = NDArray[np.float64]
KB = 8.617333262e-5  # eV/K
BAR_A3 = 6.241509074e-7  # eV
LJ_ARGON = "pair_style lj/cut 6.5\npair_coeff * * 0.0104 3.4"
FREE = "pair_style zero 3.0\npair_coeff * *"
WARM_UP = 0.1
"""Share of a run that is not looked at."""

DECK = decks.WalkerDeck(
    walker="w-0",
    model="model.nequip.pth",
    type_names=("Ar",),
    first_step=0,
    steps=30_000,
    timestep_ps=0.008,
    ensemble="npt",
    thermostat="langevin",
    temperature_K=40.0,
    pressure_bar=0.0,
    thermostat_damping_ps=0.2,
    barostat_damping_ps=0.4,
    velocity_seed=4711,
    thermostat_seed=815,
    plumed=False,
    sentinel=True,
    together=False,
    max_force_eV_per_A=50.0,
    max_temperature_K=1e5,
    min_distance_fraction=0.001,
    radii_A=("1.06",),
    min_volume_A3=1.0,
    max_volume_A3=1e6,
    max_tilt=1.3,
    max_move_A=5.0,
    walltime_s=None,
    margin_steps=0,
    ring_every_steps=1000,
    ring_frames=2,
    thermo_every_steps=10,
    dump_every_steps=10_000_000,
)
"""Argon at 40 K; every number of it may be replaced."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """A mean and its standard error, from blocks of the run."""

    value: float
    error: float

    def sigmas(self, right: float) -> float:
        """How many standard errors it is off."""
        return abs(self.value - right) / self.error


def mean(samples: Array, blocks: int = 16) -> Measured:
    """The mean of correlated samples: blocks of the run are taken for independent."""
    size = len(samples) // blocks
    each = samples[: size * blocks].reshape(blocks, size).mean(axis=1)
    return Measured(float(each.mean()), float(each.std(ddof=1) / np.sqrt(blocks)))


def variance(samples: Array) -> Measured:
    """The variance of correlated samples."""
    return mean((samples - samples.mean()) ** 2)


def cell_temperature(volume: Array, pressure: Array) -> Measured:
    """What the cell's temperature is, K, whatever the potential.

    At constant external pressure ⟨(V − ⟨V⟩)(P − ⟨P⟩)⟩ = −kT, as integration by parts of the
    distribution exp(−(F(V) + P V)/kT) shows.

    Args:
        volume: (samples,), Å³.
        pressure: (samples,), bar; of the atoms, with their kinetic part and all biases.
    """
    product = -(volume - volume.mean()) * (pressure - pressure.mean())
    return mean(product * BAR_A3 / KB)


def run(
    plugin: Path,
    folder: Path,
    atoms: ase.Atoms,
    deck: decks.WalkerDeck,
    *,
    pair: str = LJ_ARGON,
    plumed: str = "",
    start_K: float | None = None,
    print_too: Mapping[str, str] | None = None,
) -> dict[str, Array]:
    """Thermo columns of the deck as users run it, but for its two pair lines.

    Args:
        plugin: LAMMPS's plugin.
        folder: for all files.
        atoms: at the start.
        deck: what is run.
        pair: LAMMPS text in place of pair_style nequip.
        plumed: PLUMED text, where the deck has PLUMED.
        start_K: of the velocities at the start, where it is not the deck's temperature.
        print_too: more columns: name → LAMMPS text that defines it, if any is needed.
    """
    data = decks.data_file(atoms, deck.type_names, velocities=deck.velocity_seed is None)
    (folder / f"{deck.walker}.data").write_text(data)
    (folder / f"{deck.walker}.plumed").write_text(plumed)
    text = decks.walker_deck(deck)
    text, swapped = re.subn(r"pair_style nequip\npair_coeff .*", pair, text)
    assert swapped == 1
    if start_K is not None:
        text, heated = re.subn(r"(velocity all create) \S+", rf"\1 {start_K}", text)
        assert heated == 1
    more = print_too or {}
    text = text.replace(
        "\nthermo_style", "".join(f"\n{t}" for t in more.values()) + "\nthermo_style"
    )
    text = re.sub(r"(thermo_style .*)", rf"\1 {' '.join(more)}", text)
    done = engine.run_program(plugin, folder, text, "-log", "none", "-screen", "none")
    assert done.returncode == 0, done.stdout + done.stderr
    log = logs.read_log(folder / f"{deck.walker}.log")
    assert log.stop is None, log.stop
    assert log.steps_done == deck.steps
    return {name: column[int(WARM_UP * len(column)) :] for name, column in log.thermo.items()}


def mixed_crystal() -> ase.Atoms:
    """32 atoms of four masses on the sites of an fcc crystal."""
    crystal = bulk("Al", "fcc", a=3.9, cubic=True).repeat((2, 2, 2))
    names = ["Al"] * 2 + ["C"] * 10 + ["H"] * 10 + ["O"] * 10
    crystal.symbols[:] = np.random.default_rng(5).permutation(names)
    return crystal
