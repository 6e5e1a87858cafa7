"""Settings and data of segments and their results.

A system is one structure with its ensemble, PLUMED input and walkers. A segment is the MD of all
walkers of all systems in one round.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..bias import BiasSharing, Frame, Hill, History, plumed, plumed_files, plumed_limits
from ..errors import InputError
from ..settings import Settings
from ..structures import Guard
from .logs import Stop

Array = NDArray[np.float64]
Ensemble = Literal["nvt", "npt"]
Thermostat = Literal["langevin", "csvr", "nose-hoover"]


class Damped(Protocol):
    """Settings with a time step and damping times."""

    @property
    def timestep_fs(self) -> float:
        """Time step."""
        ...

    @property
    def thermostat_damping_fs(self) -> float:
        """Damping time of the thermostat."""
        ...

    @property
    def barostat_damping_fs(self) -> float:
        """Damping time of the barostat."""
        ...


def check_damping(settings: Damped) -> None:
    """Raise ValueError if a damping time is too short for the time step."""
    step = settings.timestep_fs
    found = {
        "thermostat_damping_fs": (settings.thermostat_damping_fs, 10),
        "barostat_damping_fs": (settings.barostat_damping_fs, 50),
    }
    for name, (damping, least) in found.items():
        if damping < least * step:
            raise ValueError(
                f"{name}: {damping:g} is less than {least} time steps of {step:g} fs, too fast for "
                f"the integrator: write at least {least * step:g}"
            )


class RampSettings(Settings):
    """A temperature that increases over the first rounds, while the potential is inaccurate."""

    from_K: float = Field(gt=0, le=10_000, description="Temperature in round 1.")
    rounds: int = Field(ge=1, description="Number of rounds until temperature_K is reached.")


class SystemSettings(Settings):
    """One structure with its ensemble, walkers and bias."""

    structure: str = Field(
        description="File with the start structure, in any format that ASE reads; FILE@0 selects "
        "the first of several structures, FILE@-1 the last. Magnetic moments, charges, masses and "
        "fixed atoms are kept."
    )
    walkers: int = Field(4, ge=1, le=10_000, description="Number of parallel walkers.")
    ensemble: Ensemble = Field(
        "nvt", description="nvt: fixed cell; npt: fully flexible (triclinic) cell."
    )
    thermostat: Thermostat = Field(
        "langevin",
        description="langevin: random forces on each atom; every species reaches the temperature "
        "within thermostat_damping_fs, and the center of mass drifts. csvr: stochastic velocity "
        "rescaling; nose-hoover: Nosé–Hoover chains; with both, the center of mass stays at rest "
        "and energy is exchanged between atoms only by the forces.",
    )
    temperature_K: float = Field(300.0, gt=0, le=10_000, description="Temperature.")
    temperature_ramp: RampSettings | None = Field(
        None, description="Increase the temperature over the first rounds. Default: no ramp."
    )
    pressure_MPa: float | None = Field(
        None, ge=-100_000, le=1_000_000, description="Pressure (npt only). Default: 0."
    )
    plumed: str | None = Field(
        None,
        description="PLUMED input, or the name of a PLUMED input file (one word) in the directory "
        "of the campaign file. phasewalk sets FILE, RESTART, WALKERS_* and, if needed, TEMP of "
        "METAD and the names of output files, and adds a FLUSH; the rest is not changed. Files "
        "that PLUMED reads must be in the directory of the campaign file. Default: no bias.",
    )
    bias_sharing: BiasSharing = Field(
        "merged",
        description="How walkers share hills. merged: between rounds; live: also within a round, "
        "through files; mpi: also within a round, through MPI; own: not at all, each walker has "
        "its own bias.",
    )
    velocities: Literal["keep", "draw"] = Field(
        "keep",
        description="keep: walkers keep their velocities between rounds; draw: draw new velocities "
        "in each round. In the first round they are always drawn.",
    )
    bonds: Literal["auto", "free"] | None = Field(
        None,
        description="auto: a walker stops if a covalent bond of the start structure breaks or a "
        "new one forms (in salts and metals: if atoms come much closer than in the start "
        "structure), and frames with other bonds are not labelled; `phasewalk check` shows what is "
        "checked. free: bonds may change (reactive systems). Default: auto; free in campaigns that "
        "were started by an earlier version.",
    )
    bonds_left_out: tuple[str | int, ...] = Field(
        (),
        description="What bonds: auto does not check: pairs of elements (Al-O) and atoms (their "
        "numbers in the structure, from 1).",
        strict=False,
    )
    cell_multiple: int | None = Field(
        None,
        ge=1,
        description="Number of primitive cells in the structure; required only if symmetry does "
        "not determine it. It prevents training one model on labels whose k-point sampling "
        "differs.",
    )

    @property
    def temperatures_K(self) -> tuple[float, ...]:
        """Temperatures of all rounds, those of the ramp first."""
        ramp = self.temperature_ramp
        return tuple(self.temperature_in(n) for n in range(1, (ramp.rounds if ramp else 0) + 2))

    def temperature_in(self, round_: int) -> float:
        """Temperature (K) of a round, which count from 1."""
        ramp = self.temperature_ramp
        if ramp is None or round_ > ramp.rounds:
            return self.temperature_K
        return ramp.from_K + (self.temperature_K - ramp.from_K) * (round_ - 1) / ramp.rounds

    @model_validator(mode="after")
    def _consistent(self) -> "SystemSettings":
        if self.ensemble == "nvt" and self.pressure_MPa is not None:
            raise ValueError(
                f"pressure_MPa: {self.pressure_MPa:g} has no meaning at constant volume; "
                "write ensemble: npt, or remove it"
            )
        if self.plumed is None or plumed.is_file_name(self.plumed):  # `inputs` reads the file
            return self
        try:
            plumed.metad_actions(self.plumed)
            plumed.time_unit_ps(self.plumed)
            plumed_limits.check(self.plumed)
            plumed_files.check(self.plumed)
            on_cell = plumed.bias_on_cell(self.plumed)
        except InputError as error:
            raise ValueError(str(error)) from error
        if self.ensemble == "nvt" and on_cell:
            raise ValueError(
                f"plumed: {on_cell} biases the cell, which is fixed in ensemble nvt; "
                "write ensemble: npt, or bias another variable"
            )
        return self


class SegmentSettings(Settings):
    """Molecular dynamics of each walker in one round."""

    steps: int = Field(2000, ge=1, le=10**9, description="Number of time steps per round.")
    timestep_fs: float = Field(0.5, gt=0, le=10, description="Time step.")
    thermostat_damping_fs: float = Field(
        100.0,
        gt=0,
        le=1e6,
        description="Damping time of the thermostat; at least 10 time steps.",
    )
    barostat_damping_fs: float = Field(
        500.0,
        gt=0,
        le=1e6,
        description="Damping time of the barostat (npt); at least 50 time steps.",
    )
    dump_every_steps: int = Field(50, ge=1, description="Number of steps between saved frames.")
    thermo_every_steps: int = Field(
        50, ge=1, description="Number of steps between thermo lines in the log."
    )
    sentinel: bool = Field(
        True,
        description="Check the limits below at every step and stop only the walker that exceeds "
        "one. Without it, an error in one walker ends the segment for all.",
    )
    max_force_eV_per_A: float = Field(
        50.0, gt=0, description="Stop a walker if a force component exceeds this."
    )
    max_temperature_ratio: float = Field(
        5.0,
        gt=1,
        description="Stop a walker if its temperature exceeds this multiple of the target. For "
        "cells of a few atoms the limit is raised to a value that 1 sample in 10⁹ exceeds at "
        "equilibrium.",
    )
    min_distance_fraction: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Stop a walker if a pair distance is below this × the sum of covalent radii.",
    )
    max_bond_stretch: float = Field(
        1.5,
        gt=1,
        le=10,
        description="A bond is broken if it is longer than this × its length in the start "
        "structure (see systems.*.bonds).",
    )
    new_bond_fraction: float = Field(
        1.2,
        gt=0,
        le=1.3,
        description="Atoms are newly bonded if they are closer than this × the sum of covalent "
        "radii (see systems.*.bonds).",
    )
    bond_change_fs: float = Field(
        20.0,
        ge=0,
        le=1e6,
        description="Stop a walker if a bond stays broken, or a new one stays formed, for this "
        "time; shorter changes are vibrations.",
    )
    breakdown_fs: float = Field(
        20.0,
        ge=0,
        le=1e6,
        description="Frames within this time before a breakdown are not labelled.",
    )
    timeout_s: float | None = Field(
        None,
        gt=0,
        description="Wall-time limit of a segment, after which all walkers stop and are kept. "
        "Default: no limit.",
    )

    @model_validator(mode="after")
    def _slower_than_steps(self) -> "SegmentSettings":
        check_damping(self)
        return self


class Engines(Protocol):
    """The installed programs that a segment uses."""

    @property
    def lmp(self) -> Path:
        """The LAMMPS executable."""
        ...

    @property
    def mpiexec(self) -> tuple[str, ...]:
        """The matching MPI launcher, with options."""
        ...

    @property
    def env(self) -> Mapping[str, str]:
        """Environment variables for both: library path, plugin, PLUMED kernel."""
        ...


@dataclass(frozen=True)
class Walker:
    """State of a walker: its atoms (Å, velocities in ASE units if any) and its step counter."""

    id: str
    system: str
    index: int
    atoms: Atoms
    step: int


@dataclass(frozen=True)
class SegmentPlan:
    """Complete input of a segment.

    Attributes:
        round: number of the round, from 1.
        generation: generation of the model.
        walkers: the walkers; partitions are in this order.
        systems: settings of the systems, by name.
        settings: settings of the segment.
        histories: hills of earlier rounds, by system; a system may be missing.
        model: file of the deployed model (.nequip.pth or .nequip.pt2).
        type_names: element symbols in the model's order.
        seed: seed of the campaign.
        volumes_A3: minimum and maximum volume of each system, outside which a walker stops.
        plumed_files: files that PLUMED reads in addition to its input: name → content.
        device: device of the model, cpu or cuda; None: a GPU if there is one.
        guards: bonds of each system that must not change; a system may be missing.
        ranks: number of MPI ranks of each walker.
        for_ranks: file of the deployed model for several ranks; None if there is one.
    """

    round: int
    generation: int
    walkers: tuple[Walker, ...]
    systems: Mapping[str, SystemSettings]
    settings: SegmentSettings
    histories: Mapping[str, History]
    model: Path
    type_names: tuple[str, ...]
    seed: int
    volumes_A3: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    plumed_files: Mapping[str, bytes] = field(default_factory=dict)
    device: str | None = None
    guards: Mapping[str, Guard] = field(default_factory=dict)
    ranks: int = 1
    for_ranks: Path | None = None

    @cached_property
    def members(self) -> Mapping[str, tuple[str, ...]]:
        """Ids of each system's walkers, in their order."""
        found: dict[str, list[str]] = {}
        for walker in self.walkers:
            found.setdefault(walker.system, []).append(walker.id)
        return {system: tuple(ids) for system, ids in found.items()}


@dataclass(frozen=True)
class ColvarSummary:
    """Summary of one printed variable of one walker, in the units of the PLUMED input."""

    name: str
    first: float
    last: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class WalkerResult:
    """Result of a segment for one walker.

    Attributes:
        frames: all frames of its dump, including the last step if the run completed, and the last
            good frame of the sentinel.
        last_step: step counter at the end.
        halted: why it stopped early, as text; None if it completed all steps.
        stop: stop by the sentinel, as data; None without one.
        new_hills: hills deposited in this segment.
        headers: `#!` lines of its hills files, by METAD action.
        colvars: summary of each printed variable.
        thermo: columns of the log (LAMMPS names, metal units).
        seconds: time of the MD loop; None if it was interrupted.
        broke: the sentinel or LAMMPS reported a breakdown of this walker.
    """

    id: str
    system: str
    frames: tuple[Frame, ...]
    last_step: int
    steps_done: int
    halted: str | None
    stop: Stop | None
    new_hills: tuple[Hill, ...]
    headers: Mapping[str, tuple[str, ...]]
    colvars: tuple[ColvarSummary, ...]
    thermo: Mapping[str, Array]
    seconds: float | None
    broke: bool = False

    @property
    def mean_temperature_K(self) -> float | None:
        """Mean temperature over the lines of the log."""
        return float(self.thermo["Temp"].mean()) if "Temp" in self.thermo else None


@dataclass(frozen=True)
class SegmentResult:
    """Result of a segment.

    Attributes:
        round: number of the round.
        walkers: results of the walkers, in the order of the plan.
        ended: why the launch ended early (error of LAMMPS, time limit), possibly with walkers at
            different steps; None if it completed.
        seconds: wall time of the launch.
    """

    round: int
    walkers: tuple[WalkerResult, ...]
    ended: str | None
    seconds: float
