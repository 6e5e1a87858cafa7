"""What a job needs at its place of a site: cores, GPUs, memory, time."""

import math
import sys
from pathlib import Path
from typing import Literal

from ..jobs import Job
from . import words
from .nodes import Need
from .site import PlaceSettings

WALKERS: Literal["segment"] = "segment"
DEFAULT_MIN = 60.0
"""Time limit of a job whose site file has none."""
MPS = Path(__file__).with_name("mps_child.py")


def need_of(job: Job, place: PlaceSettings, on: tuple[int, ...]) -> Need:
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
        count=min(place.nodes, job.nodes * job.ranks) if spread and place.nodes else None,
        gpus=gpus_of(job, place),
        memory_MB=math.ceil((place.memory_GB or job.memory_GB or 0.0) * 1000),
        on=on,
        spread=spread,
        # Walkers may share cores (walkers_per_core); a compiler takes as many as there are.
        crowd=job.kind in ("segment", "check", "compile", "build"),
        background=job.background,
    )


def gpus_of(job: Job, place: PlaceSettings) -> int:
    """Number of GPUs of a job on each node; a program without MPI uses one of those of walkers."""
    gpus = job.gpus if place.gpus is None else place.gpus
    if job.kind == "colvars":  # PLUMED alone
        return 0
    return gpus if job.mpiexec or job.kind not in (WALKERS, "check") else min(gpus, 1)


def limit_min(job: Job, place: PlaceSettings) -> float:
    """Minutes after which a job has ended for certain."""
    own = math.inf if job.timeout_s is None else job.timeout_s / 60.0
    return min(place.time_min or DEFAULT_MIN, own)


def mps_words(job: Job, place: PlaceSettings) -> tuple[str, ...]:
    """The words that start MPS before the program of a segment, if the place wants it."""
    wanted = place.mps and job.kind == WALKERS and job.mpiexec and gpus_of(job, place)
    return (sys.executable, "-I", "-S", str(MPS)) if wanted else ()
