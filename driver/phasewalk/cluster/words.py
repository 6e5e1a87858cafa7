"""The words with which the settings of a place surround a program; no text is given to a shell."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..jobs import Job
from .site import PlaceSettings

# It loads the modules that are its arguments, then becomes the program; the text never changes. A
# login shell knows `module`, but may replace PATH.
_MODULES = """\
PATH=$1:$PATH; count=$2; shift 2
for name in "${@:1:count}"; do
  module load "$name" || { echo "phasewalk: module load $name failed" >&2; exit 1; }
done
shift "$count"
exec "$@"
"""
ONE_NODE: Mapping[str, str] = {"HYDRA_LAUNCHER": "fork", "OMPI_MCA_plm": "isolated"}
"""For the engines' own mpiexec: start ranks here, not through Slurm (MPICH, Open MPI)."""
_SHORT = {"UCX_UNIFIED_MODE": "y"}
"""Shorter addresses of ranks: PMI2 of Slurm takes 1024 characters for one, and with more of them
MPICH's ranks on several nodes end in MPI_Init or wait there for ever ("value not properly
terminated in client request"). UCX requires the same network devices on all nodes of a job."""
_NEEDED = ("SLURM_CONF", "SLURM_JOB_ID", "SLURM_JOBID", "SLURM_HET_SIZE", "SLURM_CLUSTER_NAME")
"""Starts of the names of Slurm's variables with which srun finds the allocation."""
_GPUS = (
    *("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
    *("GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK"),
)
NO_GPU = ("env", "CUDA_VISIBLE_DEVICES=")
"""Hides all GPUs, also from ROCm; after srun, which removes the variable if a step has no GPUs."""


def program(job: Job, place: PlaceSettings, *, mpiexec: bool) -> tuple[str, ...]:
    """The words of a job's program at a place, after those for its container.

    Args:
        job: the job.
        place: where it runs; it may have a Python of its own.
        mpiexec: with the engines' own MPI launcher.
    """
    argv = at_python(job.argv, place)
    there = replace(job, argv=argv)
    return (*(place.prefix or ()), *(there.command if mpiexec else there.argv))


def at_python(argv: Sequence[str], place: PlaceSettings) -> tuple[str, ...]:
    """Program and arguments with the Python of a place, if the program is our own."""
    if place.python is None or argv[0] != sys.executable:
        return tuple(argv)
    return (place.python, *argv[1:])


def own_mpiexec(job: Job, place: PlaceSettings) -> bool:
    """Whether the ranks of a job are started by the engines' own launcher, on one node."""
    return bool(job.mpiexec) and place.launcher == "mpiexec"


def mpi_of(place: PlaceSettings) -> str:
    """How srun and the ranks of a job find each other: the argument of `srun --mpi`."""
    return place.mpi or "pmi2"


def mpi_variables(job: Job, place: PlaceSettings) -> dict[str, str]:
    """The variables with which the ranks of a job find each other, unless the place sets them."""
    if not job.mpiexec:
        return {}
    given = ONE_NODE if own_mpiexec(job, place) else _SHORT if mpi_of(place) == "pmi2" else {}
    return {name: value for name, value in given.items() if name not in (place.environment or {})}


def with_modules(
    place: PlaceSettings, words: Sequence[str], environ: Mapping[str, str]
) -> tuple[str, ...]:
    """A command with the modules of a place, and then its environment."""
    variables = [f"{name}={value}" for name, value in (place.environment or {}).items()]
    words = (*(("env", *variables) if variables else ()), *words)
    modules = place.modules or []
    if not modules:
        return words
    path = environ.get("PATH", "/usr/bin:/bin")
    return ("bash", "-l", "-c", _MODULES, "phasewalk", path, str(len(modules)), *modules, *words)


def without_slurm(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what Slurm set for this process, which srun would take as options."""
    ours = ("SLURM_", "SLURMD_", "SBATCH_", "SALLOC_", "SRUN_", "PMI_", "PMIX_")
    return {
        name: value
        for name, value in environ.items()
        if name not in _GPUS and (not name.startswith(ours) or name.startswith(_NEEDED))
    }
