"""Decks run with cheap pair styles, and what statistical mechanics says of the result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import ase
import numpy as np
import physics_lammps as engine
from ase.build import bulk
from numpy.typing import NDArray

from phasewalk.walkers import decks, logs

Array = NDArray[np.float64]
KB = 8.617333262e-5  # eV/K
BAR_A3 = 6.241509074e-7  # eV
LJ_ARGON = "pair_style lj/cut 6.0\npair_coeff * * 0.0104 3.4\npair_modify shift yes"
SOLID = "pair_style lj/cut 6.0\npair_coeff * * 0.05 2.5\npair_modify shift yes"
FLUID = "pair_style lj/cut 6.0\npair_coeff * * 0.01 2.5\npair_modify shift yes"
FREE = "pair_style zero 3.0\npair_coeff * *"
RESTRAINT = "AT=1320 KAPPA=0.0005"
"""PLUMED's, on the volume of argon; Å³ and kJ/mol."""
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
    limits={
        "force": (50.0,),
        "temperature": (1e5,),
        "move": (5.0,),
        "close": (0.001, 1.06),
        "volume": (1.0, 1e6),
        "tilt": (1.3,),
    },
    margin_steps=0,
    ring_every_steps=1000,
    ring_frames=2,
    thermo_every_steps=10,
    dump_every_steps=10_000_000,
)
"""Argon at 40 K; every number of it may be replaced."""


@dataclass(frozen=True)
class Measured:
    """A mean and its standard error, from blocks of the run."""

    value: float
    error: float

    def sigmas(self, right: float, uncertain: float = 0.0) -> float:
        """How many standard errors it is off what is right, which may be uncertain too."""
        return abs(self.value - right) / float(np.hypot(self.error, uncertain))


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
    segments: int = 1,
    print_too: Mapping[str, str] | None = None,
    changed: Mapping[str, str] | None = None,
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
        segments: so many, one after the other, each with what its own deck says of the integrator.
        print_too: more columns: name → LAMMPS text that defines it, if any is needed.
        changed: other words of the deck: old → new.
    """
    data = decks.data_file(atoms, deck.type_names, velocities=deck.velocity_seed is None)
    (folder / f"{deck.walker}.data").write_text(data)
    (folder / f"{deck.walker}.plumed").write_text(plumed)
    text = decks.walker_deck(deck)
    text = swap(r"pair_style nequip\npair_coeff .*", pair, text)
    if start_K is not None:
        text = swap(r"(velocity all create) \S+", rf"\1 {start_K}", text)
    for old, new in (changed or {}).items():
        text = swap(old, new, text)
    for name, define in (print_too or {}).items():
        text = swap(r"\nthermo_style (.*)", rf"\n{define}\nthermo_style \1 {name}", text)
    text, ends, _ = text.partition(f"\nrun {deck.steps}\n")
    more = [again(replace(deck, thermostat_seed=n)) for n in range(1, segments)]
    text = ends.join([text, *more, ""])
    thermo = read(plugin, folder, text, log=f"{deck.walker}.log")
    assert thermo["Step"][-1] == deck.steps * segments
    return thermo


def swap(old: str, new: str, text: str) -> str:
    """The text with its one match replaced."""
    text, found = re.subn(old, new, text)
    assert found == 1, old
    return text


def again(deck: decks.WalkerDeck) -> str:
    """How the deck sets up its integrator, for a LAMMPS that has one: as it is at each start."""
    text = decks.walker_deck(deck)
    ids = ["integrate"] + ["thermostat"] * ("fix thermostat" in text)
    begin, end = text.index("\nfix integrate"), text.index("\n# A walker that breaks down")
    return "".join(f"\nunfix {name}" for name in ids) + text[begin:end]


def independent(plugin: Path, folder: Path, atoms: ase.Atoms, steps: int) -> dict[str, Array]:
    """Argon at 40 K and no pressure in LAMMPS's fix npt, without a deck; `run`'s columns."""
    engine.write_data(folder / "argon.data", atoms, ("Ar",))
    text = f"""
        log alone.log
        units metal
        atom_style atomic
        read_data argon.data
        {LJ_ARGON}
        neighbor 1.0 bin
        neigh_modify delay 0 every 1 check yes
        timestep 0.008
        velocity all create 80.0 11 mom yes dist gaussian
        fix move all npt temp 40.0 40.0 0.2 tri 0.0 0.0 0.4 flip no
        thermo 10
        thermo_style custom step temp pe press vol
        thermo_modify line one format float %.12g
        run {steps}
    """
    return read(plugin, folder, text, log="alone.log")


def read(plugin: Path, folder: Path, text: str, *, log: str) -> dict[str, Array]:
    """Run LAMMPS text; the thermo columns without the warm-up."""
    done = engine.run_program(plugin, folder, text, "-log", "none", "-screen", "none")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = logs.read_log(folder / log)
    assert summary.stop is None, summary.stop
    return {name: column[int(WARM_UP * len(column)) :] for name, column in summary.thermo.items()}


def mixed_crystal() -> ase.Atoms:
    """32 atoms of four masses on the sites of an fcc crystal."""
    crystal = bulk("Al", "fcc", a=3.9, cubic=True).repeat((2, 2, 2))
    names = ["Al"] * 2 + ["C"] * 10 + ["H"] * 10 + ["O"] * 10
    crystal.symbols[:] = np.random.default_rng(5).permutation(names)
    return crystal
