"""The site file: how each kind of work runs on a cluster; it is shared by a group.

It is found by `--site NAME|FILE`: a file, or NAME.yaml beside the campaign file or in
`~/.config/phasewalk/sites/` (`$XDG_CONFIG_HOME/phasewalk/sites/`).
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from ..jobs import Job
from ..settings import Settings

Kind = Literal["label", "segment", "train", "compile", "evaluate", "production"]
"""Kinds of work that a site file names."""
OF_CAMPAIGNS: tuple[Kind, ...] = ("label", "segment", "train", "compile", "evaluate")
KIND_OF: Mapping[str, Kind] = {
    "label": "label",
    "atom": "label",
    "segment": "segment",
    "colvars": "segment",
    "check": "segment",
    "build": "compile",
    "compile": "compile",
    "train": "train",
    "evaluate": "evaluate",
    "production": "production",
    "other": "evaluate",
}
"""Kind of a job → the kind in the site file whose machines it uses."""
Word = Annotated[str, StringConstraints(min_length=1)]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class PlaceSettings(Settings):
    """Where and how one kind of work runs; what is not set is taken from `default`."""

    partition: Word | None = Field(None, description="Partition of Slurm.")
    account: Word | None = Field(None, description="Account that is charged.")
    qos: Word | None = Field(None, description="Quality of service.")
    constraint: Word | None = Field(None, description="Features that the nodes must have.")
    nodes: int | None = Field(None, ge=1, description="Number of nodes of a job. Default: 1.")
    gpus: int | None = Field(
        None,
        ge=0,
        description="Number of GPUs per node; a segment or production takes at most one for each "
        "MPI rank. Default: 0; without a scheduler all for segment and production, one for train, "
        "compile and evaluate.",
    )
    gpu_type: Word | None = Field(None, description="Type of the GPUs, as in `--gres=gpu:TYPE:1`.")
    memory_GB: float | None = Field(
        None, gt=0, description="Memory per node. Default: that of the partition."
    )
    time_min: float | None = Field(
        None,
        gt=0,
        description="Time limit of a job, in minutes. In `steps` mode a job is started only if the "
        "allocation lasts at least as long, except a production, which takes what is left. "
        "Default: 60.",
    )
    modules: list[Word] | None = Field(None, description="Modules to load, in this order.")
    environment: dict[Variable, str] | None = Field(
        None, description="Variables to set, after the modules are loaded."
    )
    prefix: list[Word] | None = Field(
        None,
        description="Words before the program, for a container: "
        "[apptainer, exec, --nv, /images/phasewalk.sif].",
    )
    python: Word | None = Field(
        None,
        description="Python with phasewalk that jobs run there, as in a container: "
        "/opt/phasewalk/bin/python. Default: the path of the one that runs phasewalk itself.",
    )
    launcher: Literal["srun", "mpiexec"] | None = Field(
        None,
        description="What starts the MPI ranks: srun, or the mpiexec of the engines (on one node). "
        "Default: srun.",
    )
    mpi: Word | None = Field(
        None, description="Argument of `srun --mpi`. Default: pmi2 (MPICH, Intel MPI)."
    )
    mps: bool | None = Field(
        None,
        description="Start NVIDIA's MPS on each node of a segment or production, with which "
        "several walkers that share a GPU run faster. Default: false.",
    )
    walkers: int | None = Field(
        None,
        ge=1,
        description="Maximum number of walkers of one launch of a segment; more walkers are "
        "divided into several launches, side by side or one after another. Default: as many as fit "
        "in `steps` mode and on a workstation (cores × resources.walkers_per_core), all in `jobs` "
        "mode.",
    )
    options: list[Word] | None = Field(
        None, description="Further options of sbatch, each as one word, as in `--exclusive`."
    )


class SiteSettings(Settings):
    """All settings of a site."""

    site: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")] = Field(
        description="Name of the site."
    )
    scheduler: Literal["slurm", "none"] = Field(
        "slurm", description="The scheduler; none: this machine, with its cores and GPUs."
    )
    mode: Literal["steps", "jobs"] = Field(
        "jobs",
        description="steps: phasewalk runs inside one allocation that its jobs share; jobs: "
        "each job is put into the queue.",
    )
    poll_s: float = Field(
        15, ge=1, description="Seconds between two calls of squeue, for all jobs together."
    )
    max_jobs: int = Field(
        50, ge=1, description="Maximum number of jobs that are in the queue at a time."
    )
    max_losses: int | None = Field(
        20,
        ge=0,
        description="Maximum number of times that a job is started again because its node was "
        "lost or it was preempted, besides those of Slurm itself; null: no limit.",
    )
    pack_min: float = Field(
        30,
        ge=0,
        description="Labels are put together into jobs of about so many minutes, by the time that "
        "earlier ones took; 0: each label is a job.",
    )
    pack_cores: int | None = Field(
        None,
        ge=1,
        description="Number of cores of such a job, in which labels then run side by side, as for "
        "partitions that give whole nodes; as many labels as fit share it, also if there are few. "
        "Default: those of one label.",
    )
    scratch: Word | None = Field(
        None,
        description="Folder for temporary files that all nodes see. Default: beside the campaign "
        "directory.",
    )
    default: PlaceSettings = Field(PlaceSettings(), description="For every kind of work.")
    label: PlaceSettings = Field(PlaceSettings(), description="Labels (and isolated atoms).")
    segment: PlaceSettings = Field(PlaceSettings(), description="Walkers.")
    train: PlaceSettings = Field(PlaceSettings(), description="Training.")
    compile: PlaceSettings = Field(PlaceSettings(), description="Compilation of models.")
    evaluate: PlaceSettings = Field(PlaceSettings(), description="Evaluation of models.")
    production: PlaceSettings = Field(
        PlaceSettings(),
        description="Long runs of `phasewalk produce`; what is not set is that of segment. "
        "`walkers` has no meaning for them.",
    )
    driver: PlaceSettings = Field(
        PlaceSettings(),
        description="The job of phasewalk itself: its own process in `jobs` mode, the whole "
        "allocation in `steps` mode.",
    )

    @model_validator(mode="after")
    def _no_steps_without_slurm(self) -> "SiteSettings":
        if self.scheduler == "none" and "mode" in self.model_fields_set:
            raise ValueError("mode: it is of a scheduler, and there is none; remove it")
        return self

    @model_validator(mode="after")
    def _models_fit_the_walkers(self) -> "SiteSettings":
        """A model is compiled for the device of the machine on which it is compiled."""
        if self.scheduler == "none" or not self.place("segment").gpus:
            return self
        for kind in ("compile", "evaluate"):
            if not self.place(kind).gpus:
                raise ValueError(
                    f"{kind}.gpus: it must be at least 1 because segment has GPUs: a model is "
                    "compiled for, and tested on, the device on which the walkers run"
                )
        return self

    @model_validator(mode="after")
    def _phasewalk_itself_leaves_gpus_to_its_jobs(self) -> "SiteSettings":
        if self.mode == "jobs" and self.driver.gpus:
            raise ValueError(
                "driver.gpus: with mode: jobs, driver is phasewalk itself, which uses no GPU; "
                "remove gpus, and set partition to one of nodes without GPUs"
            )
        return self

    def place(self, kind: Kind | Literal["driver"]) -> PlaceSettings:
        """The settings of a kind of work, completed by `default`, or `segment` for production."""
        own: PlaceSettings = getattr(self, kind)
        base = self.place("segment") if kind == "production" else self.default
        given = {name: getattr(own, name) for name in own.model_fields_set}
        if own.environment and base.environment:
            given["environment"] = {**base.environment, **own.environment}
        return base.model_copy(update=given)

    def gpus_of(self, kind: Kind) -> int | None:
        """Number of GPUs of a launch of this kind, on all its nodes; None if it does not say."""
        place = self.place(kind)
        return None if place.gpus is None else place.gpus * (place.nodes or 1)

    def place_of(self, job: Job) -> PlaceSettings:
        """The settings that a job uses."""
        return self.place(KIND_OF[job.kind])
