"""What a segment is, and what became of it: settings and data only.

A system is one structure with its ensemble, PLUMED text and walkers; a segment is what all walkers
of all systems do in one round.
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
from .logs import Stop

Array = NDArray[np.float64]
Ensemble = Literal["nvt", "npt"]
Thermostat = Literal["langevin", "csvr", "nose-hoover"]


class RampSettings(Settings):
    """A temperature that increases over the first rounds, while the potential is inaccurate."""

    from_K: float = Field(gt=0, le=10_000, description="Temperature in round 1.")
    rounds: int = Field(ge=1, description="Number of rounds until temperature_K is reached.")


class PolicySettings(Settings):
    """Where a walker continues from; the journal records each decision with its numbers."""

    after_breakdown: Literal["good", "before", "start"] = Field(
        "good",
        description="After a breakdown, continue from: good: the last good frame; before: the "
        "frame that the round began with; start: the system's start structure, which is also used "
        "if no frame is good. New velocities are drawn.",
    )
    after_failed_label: Literal["before", "start"] = Field(
        "before",
        description="Continue from here if the labels of all tried frames failed; values as in "
        "after_breakdown.",
    )
    max_force_error_ratio: float | None = Field(
        1.0,
        gt=0,
        description="Reset a walker to the start structure if the model's force RMSE on its new "
        "frame exceeds this × the rms force of the frame; null: never.",
    )


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
        for name, least in (("thermostat", 10), ("barostat", 50)):
            damping = getattr(self, f"{name}_damping_fs")
            if damping < least * self.timestep_fs:
                raise ValueError(
                    f"{name}_damping_fs: {damping:g} is less than {least} time steps of "
                    f"{self.timestep_fs:g} fs, too fast for the integrator: write at least "
                    f"{least * self.timestep_fs:g}"
                )
        return self


class Engines(Protocol):
    """What a segment needs to know of the installed programs."""

    @property
    def lmp(self) -> Path:
        """The LAMMPS program."""
        ...

    @property
    def mpiexec(self) -> tuple[str, ...]:
        """The MPI starter that fits it, with options."""
        ...

    @property
    def env(self) -> Mapping[str, str]:
        """Environment of both: library path, plugin, PLUMED kernel."""
        ...


@dataclass(frozen=True)
class Walker:
    """Where a walker stands: its atoms (Å, ASE velocities if it has any) and its step counter."""

    id: str
    system: str
    index: int
    atoms: Atoms
    step: int


@dataclass(frozen=True)
class SegmentPlan:
    """Everything that determines a segment.

    Attributes:
        round: counts from 1.
        generation: of the model.
        walkers: those that take part; partitions in this order.
        systems: settings by name.
        settings: of the segment.
        histories: hills of earlier rounds, by system; a system may be missing.
        model: file of the deployed model (.nequip.pth or .nequip.pt2).
        type_names: element symbols in the model's order.
        seed: of the campaign.
        volumes_A3: smallest and largest volume of each system's box; a walker stops beyond.
        plumed_files: what PLUMED reads beside its text: name → content.
        device: where the model runs, cpu or cuda; None: on a GPU if there is one.
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

    @cached_property
    def members(self) -> Mapping[str, tuple[str, ...]]:
        """The ids of each system's walkers, in their order."""
        found: dict[str, list[str]] = {}
        for walker in self.walkers:
            found.setdefault(walker.system, []).append(walker.id)
        return {system: tuple(ids) for system, ids in found.items()}


@dataclass(frozen=True)
class ColvarSummary:
    """One printed variable of one walker, in the units of the PLUMED text."""

    name: str
    first: float
    last: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class WalkerResult:
    """What became of one walker.

    Attributes:
        frames: all that were dumped, the last step included where the walker came to an end, and
            the sentinel's last good one.
        last_step: step counter where it stands.
        halted: why it stopped early, in words; None where it did all its steps.
        stop: the sentinel's soft stop, in numbers; None without one.
        new_hills: laid in this segment.
        headers: `#!` lines of its hills files, by METAD action.
        colvars: one for each printed variable.
        thermo: log columns (LAMMPS names, metal units).
        seconds: of the time loop; None where it was cut off.
        broke: it broke down, as the sentinel or LAMMPS said of this walker.
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
        """Mean over the log's lines."""
        return float(self.thermo["Temp"].mean()) if "Temp" in self.thermo else None


@dataclass(frozen=True)
class SegmentResult:
    """What became of a segment.

    Attributes:
        round: as planned.
        walkers: in the order of the plan.
        ended: why the whole launch ended early (LAMMPS's error, a time limit); None where it did
            not. Walkers may be at different steps then.
        seconds: wall time of the launch.
    """

    round: int
    walkers: tuple[WalkerResult, ...]
    ended: str | None
    seconds: float
