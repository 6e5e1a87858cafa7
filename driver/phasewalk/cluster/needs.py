"""What a job needs at its place of a site: cores, GPUs, memory, time."""

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..jobs import Job
from . import words
from .site import PlaceSettings

WALKERS: Literal["segment"] = "segment"
WALKING = (WALKERS, "production")
"""Kinds of jobs with walkers."""
LEAST_MIN = 10.0
"""Least time that is worth the start of a job that stops by itself."""
DEFAULT_MIN = 60.0
"""Time limit of a job whose site file has none."""
MPS = Path(__file__).with_name("mps_child.py")


@dataclass(frozen=True)
class Need:
    """What a job needs.

    Attributes:
        ranks: number of processes that Slurm starts, on all nodes together.
        threads: number of cores of each.
        nodes: number of nodes; None: as few as possible.
        gpus: number of GPUs on each node.
        gpu_type: type of the GPUs; empty if any will do.
        memory_MB: memory on each node; 0 if the site's default is taken.
        minutes: time limit.
        on: indices of the nodes on which it may run.
        spread: its ranks may be on several nodes.
        crowd: if there are too few cores, it runs on all that there are.
        background: it shares cores, GPUs and memory with other jobs.
    """

    ranks: int = 1
    threads: int = 1
    nodes: int | None = None
    gpus: int = 0
    gpu_type: str = ""
    memory_MB: int = 0
    minutes: float = DEFAULT_MIN
    on: tuple[int, ...] = ()
    spread: bool = False
    crowd: bool = False
    background: bool = False

    @property
    def cores(self) -> int:
        """Number of cores, on all nodes together."""
        return self.ranks * self.threads

    @property
    def gres(self) -> str:
        """The GPUs of a node, in Slurm's words."""
        if not self.gpus:
            return "none"
        return ":".join(part for part in ("gpu", self.gpu_type, str(self.gpus)) if part)

    @property
    def evenly(self) -> tuple[str, ...]:
        """The option for as many ranks on each node; Slurm fills one node before the next."""
        if (self.nodes or 1) == 1:
            return ()
        return (f"--ntasks-per-node={math.ceil(self.ranks / (self.nodes or 1))}",)

    def times(self, count: int) -> "Need":
        """That of several such jobs side by side on one node."""
        gpus, memory_MB = self.gpus * count, self.memory_MB * count
        return replace(self, ranks=self.ranks * count, gpus=gpus, memory_MB=memory_MB)


def need_of(job: Job, place: PlaceSettings, on: tuple[int, ...] = ()) -> Need:
    """What a job needs of nodes.

    Args:
        job: the job.
        place: settings of its kind of work.
        on: indices of the nodes on which it may run.
    """
    spread = bool(job.mpiexec) and not words.own_mpiexec(job, place)
    return Need(
        ranks=job.nodes * job.ranks,
        threads=job.threads,
        nodes=min(place.nodes, job.nodes * job.ranks) if spread and place.nodes else None,
        gpus=gpus_of(job, place),
        gpu_type=place.gpu_type or "",
        memory_MB=megabytes(place.memory_GB or job.memory_GB),
        minutes=place.time_min or DEFAULT_MIN,
        on=on,
        spread=spread,
        # Walkers may share cores (walkers_per_core); a compiler takes as many as there are.
        crowd=job.kind in (*WALKING, "check", "compile", "build"),
        background=job.background,
    )


def megabytes(memory_GB: float | None) -> int:
    """Memory as Slurm's commands take it; 0 if the site's default is taken."""
    return math.ceil((memory_GB or 0.0) * 1000)


def gpus_of(job: Job, place: PlaceSettings) -> int:
    """Number of GPUs of a job on each node, at most one for each rank of a job with walkers."""
    gpus = job.gpus if place.gpus is None else place.gpus
    if job.kind == "colvars":  # PLUMED alone
        return 0
    if job.kind not in (*WALKING, "check"):
        return gpus
    return min(gpus, math.ceil(job.nodes * job.ranks / (place.nodes or 1)))


def limit_min(job: Job, place: PlaceSettings) -> float:
    """Minutes after which a job has ended for certain; that it needs, if it stops by itself."""
    if job.stop_file:
        return LEAST_MIN
    own = math.inf if job.timeout_s is None else job.timeout_s / 60.0
    return min(place.time_min or DEFAULT_MIN, own)


def mps_words(job: Job, place: PlaceSettings) -> tuple[str, ...]:
    """The words that start MPS before the program of walkers, if the place wants it."""
    wanted = place.mps and job.kind in WALKING and job.mpiexec and gpus_of(job, place)
    return (sys.executable, "-I", "-S", str(MPS)) if wanted else ()
