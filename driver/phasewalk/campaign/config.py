"""The settings of campaign.yaml."""

from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Annotated

from pydantic import Field

from .. import settings_files
from ..engines import EngineSettings
from ..errors import InputError
from ..jobs import Launcher
from ..models import DeploySettings, ModelSettings
from ..reference import ReferenceSettings
from ..settings import Settings
from ..walkers import (
    CandidateSettings,
    PolicySettings,
    SegmentSettings,
    SystemSettings,
    division,
)
from .stop_settings import StopSettings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]


class BootstrapSettings(Settings):
    """The first labels: random perturbations of each system's structure."""

    count: int | None = Field(
        None,
        ge=0,
        description="Number of labels per system. Default: 32, or 0 if initial_data is given.",
    )
    displacement_A: float = Field(
        0.1, ge=0, le=1, description="Maximum displacement of an atom along each Cartesian axis."
    )
    strain: float = Field(
        0.06,
        ge=0,
        le=0.3,
        description="Maximum absolute value of each of the six strain components; not applied if "
        "the system has fixed atoms.",
    )
    min_distance_fraction: float = Field(
        0.6,
        gt=0,
        lt=1,
        description="Draw a perturbation again if a pair distance is below this × the sum of "
        "covalent radii.",
    )


class InitialDataSettings(Settings):
    """Labelled frames to start the campaign from."""

    file: str = Field(
        min_length=1,
        description="extxyz file with energies, forces and stresses, in the directory of the "
        "campaign file; NAME@:40 selects the first 40 frames (ASE's index syntax).",
    )
    same_level: bool = Field(
        False,
        description="Set to true to declare that the labels have the reference's level of theory, "
        "if the file does not say so.",
    )
    verify: int = Field(
        1,
        ge=0,
        description="Number of frames to recompute with the reference, to verify the level of "
        "theory.",
    )


class ResourceSettings(Settings):
    """Resources of this machine that the campaign may use."""

    cores: int | None = Field(None, ge=1, description="Number of cores. Default: all available.")
    walkers_per_core: int | None = Field(
        None,
        ge=1,
        description="Maximum number of walkers (their MPI ranks) per core in a segment. Default: "
        "2; 1 if ranks_per_walker is more than 1, since ranks wait for each other at every layer "
        "of the network.",
    )
    ranks_per_walker: int = Field(
        1,
        ge=1,
        le=10_000,
        description="Number of MPI ranks of each walker, which share the atoms of a large cell. "
        "On GPUs each needs a GPU of its own.",
    )

    @property
    def ranks_per_core(self) -> int:
        """Maximum number of MPI ranks of walkers per core."""
        return self.walkers_per_core or (2 if self.ranks_per_walker == 1 else 1)


class CampaignSettings(Settings):
    """All settings of a campaign."""

    campaign: Name = Field(
        description="Name of the campaign: letters, digits, - and _; at most 40."
    )
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of all random numbers.")
    rounds: int = Field(3, ge=0, le=10000, description="Number of rounds after the bootstrap.")
    systems: dict[Name, SystemSettings] = Field(
        min_length=1, description="The systems to explore; all train one potential."
    )
    bootstrap: BootstrapSettings = Field(BootstrapSettings(), description="The first labels.")
    segment: SegmentSettings = Field(SegmentSettings(), description="MD in each round.")
    policy: PolicySettings = Field(PolicySettings(), description="Where walkers continue.")
    candidates: CandidateSettings = Field(
        CandidateSettings(), description="Checks of frames before they are labelled."
    )
    reference: ReferenceSettings = Field(ReferenceSettings(), description="Reference method.")
    initial_data: InitialDataSettings | None = Field(
        None, description="Existing labels to start from."
    )
    validation_every: int = Field(8, ge=2, description="Hold out every N-th label for validation.")
    model: ModelSettings = Field(ModelSettings(), description="The NequIP model.")
    deploy: DeploySettings = Field(DeploySettings(), description="Compilation for LAMMPS.")
    test_data: str | None = Field(
        None, description="Labelled frames (extxyz) to evaluate every generation on."
    )
    stop: StopSettings = Field(StopSettings(), description="Stop rules (goals, budgets).")
    resources: ResourceSettings = Field(ResourceSettings(), description="Cores to use.")
    engines: EngineSettings = Field(EngineSettings(), description="Engine locations.")

    @property
    def walkers(self) -> int:
        """Number of walkers of all systems."""
        return sum(system.walkers for system in self.systems.values())


def check_walkers(settings: CampaignSettings, cores: int, path: Path) -> None:
    """Raise InputError if there are more walkers than a number of cores allows."""
    per_core, ranks = settings.resources.ranks_per_core, settings.resources.ranks_per_walker
    if settings.rounds and settings.walkers * ranks > cores * per_core:
        each, fewer = "", "fewer walkers"
        if ranks > 1:
            each = f" of {ranks} MPI ranks (resources.ranks_per_walker)"
            fewer = "fewer walkers, or fewer ranks of each"
        raise InputError(
            f"{path}: {settings.walkers} walkers{each}, but {cores} core(s) × {per_core} "
            f"(resources.walkers_per_core) allow {cores * per_core // ranks}; use {fewer}, or "
            "increase resources.walkers_per_core"
        )


def check_atoms(settings: CampaignSettings, atoms: Mapping[str, Sized], path: Path) -> None:
    """Raise InputError if a walker has more MPI ranks than atoms, by system."""
    ranks = settings.resources.ranks_per_walker
    for name, its in atoms.items():
        if len(its) < ranks:
            raise InputError(
                f"{path}: resources.ranks_per_walker: {ranks}, but systems.{name} has {len(its)} "
                "atoms; use fewer ranks, or a supercell"
            )


def check_ranks(settings: CampaignSettings, launcher: Launcher, path: Path) -> None:
    """Raise InputError if there are too few cores or GPUs for the MPI ranks of one walker."""
    ranks, per_core = settings.resources.ranks_per_walker, settings.resources.ranks_per_core
    if not settings.rounds or ranks == 1:
        return
    what = f"{path}: a walker has {ranks} MPI ranks (resources.ranks_per_walker)"
    gpus = launcher.walker_gpus
    if gpus and gpus < ranks and settings.deploy.device != "cpu":
        raise InputError(
            f"{what}, each of which needs a GPU of its own, but a launch of walkers has {gpus} (in "
            "a site file: gpus × nodes of segment); use fewer ranks, more GPUs, or deploy.device: "
            "cpu"
        )
    if launcher.cores is not None and launcher.cores * per_core < ranks:
        raise InputError(
            f"{what}, but {launcher.cores} core(s) × {per_core} (resources.walkers_per_core) allow "
            f"{launcher.cores * per_core}; use fewer ranks, or increase resources.walkers_per_core"
        )


def most_walkers(settings: CampaignSettings, launcher: Launcher) -> int | None:
    """Maximum number of walkers of one launch on a site; None if there is no limit.

    A segment with more walkers is divided into several launches.
    """
    limits = [] if launcher.walkers is None else [launcher.walkers]
    if launcher.cores is not None and not launcher.here:
        ranks = launcher.cores * settings.resources.ranks_per_core
        limits.append(max(1, ranks // settings.resources.ranks_per_walker))
    return min(limits, default=None)


def check_launches(settings: CampaignSettings, launcher: Launcher, path: Path) -> None:
    """Raise InputError if the walkers do not fit into launches on the machines of a launcher."""
    check_ranks(settings, launcher, path)
    most = most_walkers(settings, launcher)
    if most is not None:
        division.check(settings.systems, most)
    elif launcher.cores is not None:  # else Slurm refuses a job that is too large
        check_walkers(settings, launcher.cores, path)


def parse(text: str, where: str) -> CampaignSettings:
    """Read settings from YAML text; InputError with one line for the first error."""
    return settings_files.parse(text, where, CampaignSettings)
